import { expect } from 'chai';
import fc from 'fast-check';
import { execFileSync } from 'node:child_process';
import { link, mkdir, mkdtemp, open, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { TarArchive } from '../../../../src/adapters/oci-layout/tar-archive.ts';
import { InvalidContentError } from '../../../../src/domain/errors.ts';
import { archiveOf } from '../../../support/archive.ts';
import { bytesOf } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

const never = new AbortController().signal;
const GIB = 1024 ** 3;

describe('TarArchive', () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tar-archive-'));
    path = join(directory, 'archive.tar');
  });
  afterEach(() => rm(directory, { recursive: true }));

  const within = async <Outcome>(work: (archive: TarArchive) => Outcome | Promise<Outcome>): Promise<Outcome> => {
    const archive = await TarArchive.open(path, never);
    try {
      return await work(archive);
    } finally {
      archive.close();
    }
  };
  const contentOf = (name: string): Promise<Buffer | undefined> =>
    within((archive) => {
      const place = archive.find(name);
      return place === undefined ? undefined : archive.read(place);
    });
  const failure = async (bytes: Uint8Array): Promise<string> => {
    await writeFile(path, bytes);
    const error = await rejection(TarArchive.open(path, never));
    expect(error).to.be.instanceOf(InvalidContentError);
    return error.message;
  };

  for (const [format, longest] of [
    ['v7', 90],
    ['ustar', 150],
    ['gnu', 400],
    ['pax', 400],
  ] as const) {
    it(`finds the files of an archive that GNU tar writes as ${format}`, async () => {
      const tree = join(directory, 'tree');
      const name = `${'folder/'.repeat(longest / 7 - 6)}${'n'.repeat(30)}`;
      const files = new Map([
        ['empty', new Uint8Array()],
        ['block', bytesOf(512)],
        [name, bytesOf(1000, 2)],
        ['last', bytesOf(70_000, 3)],
      ]);
      for (const [file, bytes] of files) {
        await mkdir(dirname(join(tree, file)), { recursive: true });
        await writeFile(join(tree, file), bytes);
      }
      execFileSync('tar', ['-cf', path, `--format=${format}`, '-C', tree, '.']);
      for (const [file, bytes] of files) expect(await contentOf(file), file).to.deep.equal(Buffer.from(bytes));
      expect(await contentOf('folder')).to.equal(undefined);
    });
  }

  it('streams a file from an offset on', async () => {
    const content = bytesOf(1_200_000);
    await writeFile(path, archiveOf({ path: 'before', content: 'x' }, { path: 'file', content }));
    await within(async (archive) => {
      const place = archive.find('file') ?? { offset: 0, size: 0 };
      const chunks: Buffer[] = [];
      for await (const chunk of archive.stream(place, 123_456, never)) chunks.push(Buffer.from(chunk));
      expect(Buffer.compare(Buffer.concat(chunks), content.subarray(123_456))).to.equal(0);
    });
  });

  it('follows no link, also if a file has the same name', async () => {
    await symlink('/etc/passwd', join(directory, 'symbolic'));
    await writeFile(join(directory, 'first'), 'content');
    await link(join(directory, 'first'), join(directory, 'hard'));
    execFileSync('tar', ['-cf', path, '-C', directory, 'symbolic', 'first', 'hard']);
    expect(await contentOf('symbolic')).to.equal(undefined);
    expect(await contentOf('hard')).to.equal(undefined);
    expect(String(await contentOf('first'))).to.equal('content');
    await writeFile(
      path,
      archiveOf(
        { path: 'a', content: 'a' },
        { path: './a', kind: 'symlink', target: 'b' },
        { path: 'b', content: 'b' },
      ),
    );
    expect(await contentOf('a')).to.equal(undefined);
    await writeFile(path, archiveOf({ path: 'a', content: 'old' }, { path: '/a', content: 'new' }));
    expect(String(await contentOf('a'))).to.equal('new');
  });

  for (const [how, headers] of [
    ['a number of base 256', () => [sized(Buffer.from([0x80, 0, 0, 0, 0, 0, 0, 2, 0x40, 0, 0, 0]))]],
    ['a pax record', () => [pax(`19 size=${String(9 * GIB)}\n`), sized(Buffer.from('00000000000\0'))]],
  ] as const) {
    it(`finds a file after one of 9 GiB, whose size is ${how}`, async () => {
      const before = Buffer.concat(headers());
      const file = await open(path, 'w');
      await file.write(before);
      await file.write(archiveOf({ path: 'last', content: 'here' }), 0, undefined, before.byteLength + 9 * GIB);
      await file.close();
      expect(String(await contentOf('last'))).to.equal('here');
      expect(await within((archive) => archive.find('large')?.size)).to.equal(9 * GIB);
    });
  }

  it('reports a file that is not an archive, is compressed or truncated', async () => {
    const archive = archiveOf({ path: 'file', content: bytesOf(5000) });
    expect(await failure(Buffer.from('{}'.repeat(1000)))).to.equal('file is not a tar archive');
    expect(await failure(new Uint8Array())).to.equal('file is not a tar archive');
    expect(await failure(gzipSync(archive))).to.equal('archive is compressed: decompress it first');
    expect(await failure(archive.subarray(0, 3000))).to.equal('archive ends in the middle of a file');
    expect(await failure(pax('99 path=\n'))).to.equal('archive has a broken pax header');
    expect(await failure(pax('5 pa\n'))).to.equal('archive has a broken pax header');
  });

  it('limits the number of entries and the size of headers', async () => {
    const header = archiveOf({ path: 'x' }).subarray(0, 512);
    expect(await failure(Buffer.concat(Array<Buffer>(50_001).fill(header)))).to.equal(
      'archive has more than 50000 entries',
    );
    expect(await failure(pax(`2000000 path=${'x'.repeat(2_000_000)}`))).to.equal(
      'archive has a header of more than 1 MiB',
    );
  });

  it('rejects when the archive becomes shorter', async () => {
    await writeFile(path, archiveOf({ path: 'file', content: bytesOf(5000) }));
    await within(async (archive) => {
      await writeFile(path, '');
      const place = archive.find('file') ?? { offset: 0, size: 0 };
      expect(await rejection(archive.read(place))).to.have.property('message', 'archive has become shorter');
    });
  });

  it('opens neither a directory nor a pipe', async () => {
    expect(await rejection(TarArchive.open(directory, never))).to.have.property('code', 'EFTYPE');
    execFileSync('mkfifo', [path]);
    expect(await rejection(TarArchive.open(path, never))).to.have.property('code', 'EFTYPE');
  });

  it('ends when it is interrupted', async () => {
    await writeFile(path, archiveOf({ path: 'file' }));
    const reason = new Error('enough');
    expect(await rejection(TarArchive.open(path, AbortSignal.abort(reason)))).to.equal(reason);
  });

  it('rejects any invalid input with its one error', async () => {
    const archive = Buffer.concat([pax('13 path=ab/c\n'), archiveOf({ path: 'x', content: 'y' }, { path: 'z' })]);
    const change = fc.record({ at: fc.nat(archive.byteLength - 1), to: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const bytes = Buffer.from(archive);
        for (const { at, to } of changes) bytes[at] = to;
        // Without a valid checksum the reader does not reach the later checks.
        for (const start of [0, 1024]) sign(bytes.subarray(start, start + 512));
        await writeFile(path, bytes);
        await within(() => undefined).catch((error: unknown) => {
          expect(error).to.be.instanceOf(InvalidContentError);
        });
      }),
    );
  });
});

/** A header whose size is written so. */
function sized(size: Buffer): Buffer {
  const header = Buffer.from(archiveOf({ path: 'large' }).subarray(0, 512));
  size.copy(header, 124);
  return sign(header);
}

function sign(header: Buffer): Buffer {
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

/** A pax header for the entry behind it. */
function pax(records: string): Buffer {
  const entry = archiveOf({ path: 'PaxHeaders/x', content: records });
  const header = Buffer.from(entry.subarray(0, entry.byteLength - 1024));
  header.write('x', 156);
  sign(header.subarray(0, 512));
  return header;
}
