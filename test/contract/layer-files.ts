/** The contract of LayerFiles: every reader of archives passes it. */
import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { InvalidContentError } from '../../src/domain/errors.ts';
import type { LayerFiles, LayerLimits } from '../../src/domain/ports/layer-files.ts';
import { rejection } from '../support/rejection.ts';

const FORMATS = ['gnu', 'oldgnu', 'pax', 'ustar', 'v7'] as const;
const LONG = 'n'.repeat(180);
const BINARY = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 31 + (at >> 8)) & 0xff));
/** A frame that decoders skip (RFC 8878, section 3.1.2). */
const SKIPPED = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]);

export function describeLayerFiles(make: () => LayerFiles): void {
  let directory: string;
  /** Entries of the last archive that are no files. */
  let others: string[] = [];
  const tar = (format: (typeof FORMATS)[number], ...names: string[]): Buffer =>
    execFileSync('tar', ['--format', format, '-C', directory, '-cf', '-', ...names], { maxBuffer: 1 << 30 });

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'layer-files-'));
    mkdirSync(join(directory, 'bin'));
    mkdirSync(join(directory, 'docs'));
    writeFileSync(join(directory, 'bin/rpp-get'), BINARY);
    writeFileSync(join(directory, 'docs/empty'), '');
    writeFileSync(join(directory, 'docs/icon.svg'), '<svg/>');
    symlinkSync('/etc/passwd', join(directory, 'docs/icon.png'));
    linkSync(join(directory, 'docs/icon.svg'), join(directory, 'docs/linked.svg'));
    writeFileSync(join(directory, LONG), 'long');
  });

  after(() => {
    rmSync(directory, { recursive: true });
  });

  async function listed(archive: Buffer, chunkBytes = 65_536, limits: Partial<LayerLimits> = {}): Promise<string[]> {
    const names: string[] = [];
    const all = make().list(lent(archive, chunkBytes), { ...unlimited(), ...limits });
    for await (const { kind, path, size, bytes } of all) {
      if (kind !== 'file') {
        others.push(`${kind} ${path}`);
        continue;
      }
      const chunks: Uint8Array[] = [];
      for await (const chunk of bytes) chunks.push(Uint8Array.from(chunk));
      const content = Buffer.concat(chunks);
      expect(content.byteLength).to.equal(size);
      if (path === 'bin/rpp-get') expect(content.equals(BINARY)).to.equal(true);
      names.push(path);
    }
    return names;
  }

  const names = ['./bin', './docs/empty', './docs/icon.png', './docs/icon.svg', './docs/linked.svg'];
  const files = ['bin/rpp-get', 'docs/empty', 'docs/icon.svg'];

  for (const format of FORMATS) {
    it(`tells regular files from links and directories in a tar of the format ${format}`, async () => {
      others = [];
      expect(await listed(tar(format, ...names))).to.deep.equal(files);
      expect(others).to.deep.equal(['directory bin', 'other docs/icon.png', 'other docs/linked.svg']);
    });
  }

  for (const format of ['gnu', 'oldgnu', 'pax'] as const) {
    it(`reads names of 180 characters in the format ${format}`, async () => {
      expect(await listed(tar(format, LONG))).to.deep.equal([LONG]);
    });
  }

  for (const chunkBytes of [1, 7, 1000, 1 << 20]) {
    it(`unpacks gzip and zstd from chunks of ${String(chunkBytes)} bytes, of one frame and of several`, async () => {
      const plain = tar('gnu', ...names);
      const [head, middle, rest] = [plain.subarray(0, 1000), plain.subarray(1000, 1001), plain.subarray(1001)];
      const packed = {
        plain,
        gzip: gzipSync(plain),
        'gzip, several members': Buffer.concat([
          gzipSync(head),
          gzipSync(rest.subarray(0, 0)),
          gzipSync(middle),
          gzipSync(rest),
        ]),
        zstd: zstdCompressSync(plain),
        'zstd, several frames': Buffer.concat([head, middle, rest].map((part) => zstdCompressSync(part))),
        'zstd, frames to skip': Buffer.concat([
          SKIPPED,
          zstdCompressSync(head),
          SKIPPED,
          zstdCompressSync(plain.subarray(1000)),
        ]),
      };
      for (const [what, archive] of Object.entries(packed)) {
        expect(await listed(archive, chunkBytes), what).to.deep.equal(files);
      }
    });
  }

  it('continues after a file that the caller does not read, or reads only in part', async () => {
    const seen: string[] = [];
    for await (const { kind, path, bytes } of make().list(lent(gzipSync(tar('gnu', ...names)), 4096), unlimited())) {
      if (kind !== 'file') continue;
      seen.push(path);
      if (path !== 'bin/rpp-get') continue;
      for await (const chunk of bytes) {
        expect(chunk.byteLength).to.be.greaterThan(0);
        break;
      }
    }
    expect(seen).to.deep.equal(files);
  });

  it('closes the layer without reading the rest when the caller has found its file', async () => {
    const state = { read: 0, closed: false };
    const archive = tar('gnu', './docs/icon.svg', './bin');
    const padded = Buffer.concat([archive.subarray(0, -10_240), Buffer.alloc(64 << 20)]);
    async function* layer(): AsyncGenerator<Uint8Array> {
      try {
        for await (const chunk of lent(padded, 65_536)) {
          state.read += chunk.byteLength;
          yield chunk;
        }
      } finally {
        state.closed = true;
      }
    }
    for await (const { path } of make().list(layer(), unlimited())) {
      expect(path).to.equal('docs/icon.svg');
      break;
    }
    expect(state.closed).to.equal(true);
    expect(state.read).to.be.lessThan(8 << 20);
  });

  it('does not list entries after the end of the archive', async () => {
    const hidden = Buffer.concat([tar('gnu', './docs/icon.svg'), tar('gnu', './bin')]);
    expect(await listed(hidden)).to.deep.equal(['docs/icon.svg']);
  });

  const broken: readonly [what: string, bytes: (whole: Buffer) => Buffer][] = [
    ['is a JSON document', () => Buffer.from('{"schemaVersion":2}')],
    ['is a page of a portal', () => Buffer.from('<html>'.repeat(1000))],
    ['ends in the middle of a file', (whole) => whole.subarray(0, 100_000)],
    ['ends in the middle of its gzip', (whole) => gzipSync(whole).subarray(0, 300)],
    ['ends in the middle of its zstd', (whole) => zstdCompressSync(whole).subarray(0, 300)],
    ['has a wrong checksum of gzip', (whole) => flipped(gzipSync(whole), -6)],
    ['has a broken block of zstd', (whole) => flipped(zstdCompressSync(whole), 40)],
    ['has 64 MiB of extended attributes', () => Buffer.concat([header('x', 64 << 20), Buffer.alloc(1 << 20, '1')])],
  ];
  for (const [what, bytes] of broken) {
    it(`refuses a layer that ${what}`, async () => {
      const error = await rejection(listed(bytes(tar('ustar', './bin'))));
      expect(error).to.be.instanceOf(InvalidContentError);
    });
  }

  it('says of a layer that its zstd needs a window of 128 MiB', async () => {
    const wide = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 1, 0, 0]);
    const error = await rejection(listed(wide));
    expect(error).to.be.instanceOf(InvalidContentError);
    expect(error).to.have.property('message', 'layer needs a window of more than 8 MiB to be unpacked');
  });

  const empty: Readonly<Record<string, Buffer>> = {
    'has no byte': Buffer.alloc(0),
    'holds zeros only': Buffer.alloc(10_240),
    'is packed zeros, as Docker writes a layer without files': gzipSync(Buffer.alloc(1024)),
  };
  for (const [what, bytes] of Object.entries(empty)) {
    it(`lists nothing of a layer that ${what}`, async () => {
      expect(await listed(bytes)).to.deep.equal([]);
    });
  }

  for (const size of [2 ** 62, -512]) {
    it(`refuses a layer with a file of ${String(size)} bytes`, async () => {
      expect(await rejection(listed(withSize(tar('ustar', './bin'), size)))).to.be.instanceOf(InvalidContentError);
    });
  }

  for (const [format, ...options] of [
    ['gnu'],
    ['pax', '--sparse-version=0.0'],
    ['pax', '--sparse-version=0.1'],
    ['pax', '--sparse-version=1.0'],
  ] as const) {
    it(`takes no map of holes for the content of a sparse file (${[format, ...options].join(' ')})`, async () => {
      writeHoles(join(directory, 'sparse'), 2);
      const args = ['--sparse', '--format', format, ...options, '-C', directory, '-cf', '-'];
      const archive = execFileSync('tar', [...args, 'sparse', 'docs/icon.svg'], { maxBuffer: 1 << 30 });
      expect(await listed(archive)).to.deep.equal(['docs/icon.svg']);
    });
  }

  it('refuses a layer with a sparse file whose map continues after its header', async () => {
    writeHoles(join(directory, 'sparse'), 10);
    const args = ['--sparse', '--format', 'gnu', '-C', directory, '-cf', '-', 'sparse'];
    const archive = execFileSync('tar', args, { maxBuffer: 1 << 30 });
    expect(await rejection(listed(archive))).to.be.instanceOf(InvalidContentError);
  });

  for (const type of ['M', 'V', 'X', 'Z']) {
    it(`takes no entry of the type ${type} for a file, and goes on behind its content`, async () => {
      others = [];
      const archive = Buffer.concat([header(type, 600), Buffer.alloc(1024, 'x'), tar('ustar', './docs/icon.svg')]);
      expect(await listed(archive)).to.deep.equal(['docs/icon.svg']);
      expect(others).to.deep.equal(['other name']);
    });
  }

  for (const type of ['1', '2', '3', '5', '6']) {
    it(`knows that an entry of the type ${type} has no content, whatever its size`, async () => {
      const archive = Buffer.concat([header(type, 1024), tar('ustar', './docs/icon.svg')]);
      expect(await listed(archive)).to.deep.equal(['docs/icon.svg']);
    });
  }

  const extended: Readonly<Record<string, readonly [headers: Buffer[], expected: string[]]>> = {
    // Other readers apply the size to the long name, and read the content of the file as headers.
    'a size before a long name': [[pax('13 size=1024\n'), long('name of it\0')], ['name of it 1024']],
    'a name before a long name': [[pax('12 path=pax\n'), long('long\0')], ['long 512']],
    'a long name without a NUL at its end': [[long('long')], ['long 512']],
    'two headers, of which the second counts': [[pax('12 path=one\n'), pax('14 mtime=1234\n')], ['name 512']],
    'a name that is empty': [[pax('8 path=\n')], ['name 512']],
    'a size that is smaller than that of the header': [[pax('12 size=500\n')], ['name 500']],
    'fields of all objects': [[pax('15 __proto__=1\n')], ['name 512']],
    'records for all entries': [[pax('12 path=all\n', 'g')], ['name 512']],
  };
  for (const [what, [headers, expected]] of Object.entries(extended)) {
    it(`reads an entry behind ${what}`, async () => {
      const end = tar('ustar', './docs/icon.svg');
      const size = expected.includes('name of it 1024') ? 1024 : 512;
      const archive = Buffer.concat([...headers, header('0', 512), Buffer.alloc(size), end]);
      const entries: string[] = [];
      for await (const { path, size } of make().list(lent(archive, 100), unlimited()))
        entries.push(`${path} ${String(size)}`);
      expect(entries).to.deep.equal([...expected, 'docs/icon.svg 6']);
    });
  }

  const malformed: Readonly<Record<string, (whole: Buffer) => Buffer>> = {
    'a wrong checksum': (whole) => flipped(whole, 0),
    'a wrong checksum behind a file': (whole) =>
      Buffer.concat([tar('ustar', './docs/icon.svg').subarray(0, 1024), flipped(whole, 0)]),
    'a pax record that is longer than its header': (whole) => Buffer.concat([pax('99 path=x\n'), whole]),
    'a pax record without a length': (whole) => Buffer.concat([pax('path=x\n'), whole]),
    ...Object.fromEntries(
      ['-1', '0x10', '7e2', '1.5', '9999999999999999999999'].map((size) => [
        `a pax size of ${size}`,
        (whole: Buffer) => Buffer.concat([pax(`${String(size.length + 9)} size=${size}\n`), whole]),
      ]),
    ),
  };
  for (const [what, change] of Object.entries(malformed)) {
    it(`refuses a layer with ${what}`, async () => {
      expect(await rejection(listed(change(tar('ustar', './bin'))))).to.be.instanceOf(InvalidContentError);
    });
  }

  it('accepts the checksum of a program that adds signed bytes', async () => {
    const archive = tar('ustar', './docs/icon.svg');
    archive.write('\u00e9.svg', 0, 'latin1');
    archive.fill(' ', 148, 156);
    const sum = archive.subarray(0, 512).reduce((total, byte) => total + (byte < 128 ? byte : byte - 256), 0);
    archive.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    expect(await listed(archive)).to.have.lengthOf(1);
  });

  for (const [format, pack] of Object.entries({ gzip: gzipSync, zstd: zstdCompressSync })) {
    it(`reads over zeros behind the last frame of ${format}, as padding to a block`, async () => {
      for (const chunkBytes of [100, 65_536]) {
        const padded = Buffer.concat([pack(tar('gnu', ...names)), Buffer.alloc(700)]);
        expect(await listed(padded, chunkBytes)).to.deep.equal(files);
      }
    });

    it(`treats zeros behind ${format} of an archive without an end alike, however the bytes arrive`, async () => {
      const frame = pack(tar('ustar', './docs/icon.svg').subarray(0, 1024));
      const padded = Buffer.concat([frame, Buffer.alloc(700)]);
      for (const chunkBytes of [1, 7, frame.byteLength - 1, frame.byteLength, frame.byteLength + 1, 1 << 20])
        expect(await listed(padded, chunkBytes), String(chunkBytes)).to.deep.equal(['docs/icon.svg']);
    });
  }

  for (const [format, pack] of Object.entries({ gzip: gzipSync, zstd: zstdCompressSync })) {
    for (const [what, garbage] of Object.entries({
      text: Buffer.from('garbage'),
      'one byte': Buffer.from('g'),
      'what begins as a frame of gzip': Buffer.from([0x1f, 0x8b, 8, 0xff, 0xff, 0xff]),
      'what begins as a frame of zstd': Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff]),
      'a broken frame': pack(Buffer.alloc(70_000, 'a')).fill(0xff, 20),
    })) {
      it(`lists all that a layer holds before ${what} behind its last frame of ${format}`, async () => {
        for (const chunkBytes of [1, 1000, 1 << 20]) {
          expect(await listed(Buffer.concat([pack(tar('gnu', ...names)), garbage]), chunkBytes)).to.deep.equal(files);
        }
      });
    }
  }

  for (const [format, pack] of Object.entries({ gzip: gzipSync, zstd: zstdCompressSync })) {
    it(`refuses bytes behind the last frame of ${format} where the archive has no end before them`, async () => {
      const endless = pack(tar('ustar', './docs/icon.svg').subarray(0, 1024));
      for (const garbage of [Buffer.from('garbage'), endless.subarray(0, 1)]) {
        for (const chunkBytes of [1, endless.byteLength, 1 << 20]) {
          const error = await rejection(listed(Buffer.concat([endless, garbage]), chunkBytes));
          expect(error).to.be.instanceOf(InvalidContentError);
          expect(String(error)).to.include(`layer is not valid ${format}`);
        }
      }
    });
  }

  it('reads over all that a header of gzip may hold', async () => {
    const packed = gzipSync(tar('gnu', ...names));
    const parts = {
      extra: Buffer.from([3, 0, 1, 2, 3]),
      name: 'a.tar\0',
      comment: 'of a test\0',
      sum: Buffer.alloc(2),
    };
    const optional = Buffer.concat(Object.values(parts).map((part) => Buffer.from(part)));
    const header = Buffer.from(packed.subarray(0, 10));
    header[3] = 4 | 8 | 16 | 2;
    for (const chunkBytes of [1, 13, 1 << 20]) {
      expect(await listed(Buffer.concat([header, optional, packed.subarray(10)]), chunkBytes)).to.deep.equal(files);
    }
    for (const bytes of [5, 12, 17, 25]) {
      const error = await rejection(listed(Buffer.concat([header, optional]).subarray(0, bytes)));
      expect(error).to.be.instanceOf(InvalidContentError);
    }
  });

  for (const at of [-8, -4]) {
    it(`refuses a layer whose ${at === -8 ? 'checksum' : 'size'} is that of other bytes`, async () => {
      const packed = gzipSync(tar('ustar', './docs/icon.svg').subarray(0, 1024));
      packed[packed.byteLength + at] = (packed.at(at) ?? 0) ^ 1;
      expect(await rejection(listed(packed))).to.be.instanceOf(InvalidContentError);
    });
  }

  it('refuses a layer that exceeds the limit of unpacked bytes before it is unpacked completely', async () => {
    const bomb = gzipSync(Buffer.concat([header('0', 64 << 20), Buffer.alloc(64 << 20)]));
    const error = await rejection(listed(bomb, 65_536, { budget: { bytes: 1 << 20 } }));
    expect(error).to.be.instanceOf(InvalidContentError);
    expect(String(error)).to.include('1048576 bytes');
  });

  it('applies one limit of unpacked bytes to several layers', async () => {
    const layer = tar('ustar', './docs/icon.svg');
    const budget = { bytes: 2.5 * layer.byteLength };
    for (let time = 0; time < 2; time++) await listed(gzipSync(layer), 65_536, { budget });
    expect(budget.bytes).to.equal(layer.byteLength / 2);
    expect(await rejection(listed(gzipSync(layer), 65_536, { budget }))).to.be.instanceOf(InvalidContentError);
  });

  it('ends with the reason of its signal', async () => {
    const reason = new Error('too late');
    const error = await rejection(listed(tar('gnu', ...names), 512, { signal: AbortSignal.abort(reason) }));
    expect(error).to.equal(reason);
  });

  for (const [what, frame] of Object.entries({
    'frames to skip': SKIPPED,
    'empty frames of zstd': zstdCompressSync(''),
    'empty members of gzip': gzipSync(''),
  })) {
    it(`ends with the reason of its signal in a layer of ${what}`, async () => {
      const [late, reason] = [new AbortController(), new Error('too late')];
      const frames = Buffer.concat(Array.from({ length: 65_536 }, () => frame));
      setTimeout(() => {
        late.abort(reason);
      }, 20);
      const endless = async function* (): AsyncGenerator<Uint8Array> {
        for (;;) yield await Promise.resolve(frames);
      };
      const read = async (): Promise<void> => {
        for await (const { path } of make().list(endless(), { ...unlimited(), signal: late.signal })) {
          expect.fail(path);
        }
      };
      expect(await rejection(read())).to.equal(reason);
    });
  }

  for (const pack of [(bytes: Buffer) => bytes, gzipSync, zstdCompressSync]) {
    it(`rejects with the error of a layer that breaks off (${pack.name || 'plain'})`, async () => {
      const reason = new InvalidContentError('registry closed the connection');
      const archive = pack(tar('gnu', './bin'));
      async function* layer(): AsyncGenerator<Uint8Array> {
        yield await Promise.resolve(archive.subarray(0, archive.byteLength / 2));
        throw reason;
      }
      const read = async (): Promise<void> => {
        for await (const { bytes } of make().list(layer(), unlimited())) {
          for await (const chunk of bytes) expect(chunk.byteLength).to.be.greaterThan(0);
        }
      };
      expect(await rejection(read())).to.equal(reason);
    });
  }
}

const unlimited = (): LayerLimits => ({ budget: { bytes: 1 << 30 }, signal: new AbortController().signal });

/** Chunks in one block that the next chunk overwrites, as those of a download are. */
async function* lent(bytes: Buffer, chunkBytes: number): AsyncGenerator<Uint8Array> {
  const block = Buffer.alloc(chunkBytes);
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) {
    const size = bytes.copy(block, 0, at, at + chunkBytes);
    yield await Promise.resolve(block.subarray(0, size));
    block.fill(0xff);
  }
}

function flipped(bytes: Buffer, at: number): Buffer {
  const place = at < 0 ? bytes.byteLength + at : at;
  bytes.writeUInt8(bytes.readUInt8(place) ^ 0xff, place);
  return bytes;
}

/** A header in the format ustar. */
function header(type: string, size: number): Buffer {
  const block = Buffer.alloc(512);
  block.write('name', 0);
  block.write('0000644\0', 100);
  block.write(type, 156);
  block.write('ustar\x0000', 257);
  return withSize(block, size);
}

/** The number of bytes in the first header, in the notation of GNU tar for numbers that octal digits cannot hold. */
function withSize(archive: Buffer, size: number): Buffer {
  const at = archive.byteLength > 512 && archive.subarray(156, 157).toString() === '5' ? 512 : 0;
  const block = archive.subarray(at, at + 512);
  block.fill(0, 124, 136);
  block.writeBigInt64BE(BigInt(size), 128);
  block.fill(size < 0 ? 0xff : 0, 124, 128);
  block.writeUInt8(size < 0 ? 0xff : 0x80, 124);
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return archive;
}

/** A file with so many holes, which the file system has no blocks for. */
function writeHoles(path: string, holes: number): void {
  const file = openSync(path, 'w');
  for (let hole = 1; hole <= holes; hole++) writeSync(file, BINARY, 0, 4096, hole << 20);
  closeSync(file);
}

/** A header of pax for the next entry. */
function pax(records: string, type = 'x'): Buffer {
  const content = Buffer.alloc(512);
  content.write(records);
  return Buffer.concat([header(type, records.length), content]);
}

/** GNU's header for a name that does not fit into the next one. */
function long(name: string): Buffer {
  const content = Buffer.alloc(512);
  content.write(name);
  return Buffer.concat([header('L', name.length), content]);
}
