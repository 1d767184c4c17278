import { expect } from 'chai';
import fc from 'fast-check';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sinon from 'sinon';
import { FilesystemPackageStore } from '../../../../src/adapters/filesystem/filesystem-package-store.ts';
import { Layout } from '../../../../src/adapters/filesystem/layout.ts';
import { Ledger } from '../../../../src/adapters/filesystem/ledger.ts';
import { scan } from '../../../../src/adapters/filesystem/startup-scan.ts';
import { nearMiss } from '../../../support/hostile-text.ts';
import { bytesOf, makeBlob } from '../../../support/image.ts';
import { ingest, readAll, sourceOf } from '../../../support/source.ts';

const PIECES = [
  'a',
  'A',
  'g',
  '0',
  '.',
  '..',
  '-',
  ':',
  '%2f',
  '\\',
  ' ',
  '\n',
  '\t',
  '~',
  'ä',
  '٠',
  '\u{1f4e6}',
  '__proto__',
];
const HEX_DIGITS = Array.from('0123456789abcdef');
const hex = fc.array(fc.constantFrom(...HEX_DIGITS), { minLength: 64, maxLength: 64 }).map((digits) => digits.join(''));
const isHex = (name: string): boolean =>
  name.length === 64 && Array.from(name).every((digit) => HEX_DIGITS.includes(digit));

const names = fc.oneof(hex, nearMiss(hex, PIECES), fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }));

describe('leaveCleanMarker', () => {
  let directory: string;
  let proto: FileHandle;
  const synced = new Set<string>();
  let log: string[];
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'clean-stop-'));
    synced.clear();
    log = [];
    const probe = await open(directory);
    proto = Object.getPrototypeOf(probe) as FileHandle;
    await probe.close();
    for (const method of ['sync', 'datasync'] as const) {
      const original = proto[method];
      sinon.stub(proto, method).callsFake(async function (this: FileHandle) {
        const path = readlinkSync(`/proc/self/fd/${String(this.fd)}`);
        synced.add(path);
        log.push(path.slice(directory.length + 1));
        return original.call(this);
      });
    }
  });
  afterEach(() => {
    sinon.restore();
    rmSync(directory, { recursive: true });
  });

  async function start(): Promise<FilesystemPackageStore> {
    const store = new FilesystemPackageStore({ directory, maxBytes: 10e6 });
    await store.load();
    return store;
  }

  /** The disk after a power loss: files that were never synced have lost their bytes, or have zeros instead of them. */
  function losePower(how: 'emptied' | 'zeros'): void {
    const blobs = join(directory, 'v1/blobs/sha256');
    for (const path of readdirSync(blobs).map((name) => join(blobs, name))) {
      if (synced.has(path)) continue;
      const { atime, mtime, size } = statSync(path);
      writeFileSync(path, new Uint8Array(how === 'emptied' ? 0 : size));
      utimesSync(path, atime, mtime);
    }
  }

  const images = [1, 2, 3].map((seed) => makeBlob('application/octet-stream', bytesOf(100_000, seed)));

  for (const how of ['emptied', 'zeros'] as const) {
    it(`names only blobs that are on the disk, so that a power loss after it costs none (${how})`, async () => {
      const before = await start();
      for (const { descriptor, bytes } of images) await (await ingest(before, descriptor, sourceOf(bytes))).settled;
      expect(log, 'a download waits for no disk').to.deep.equal([]);
      await before.close();
      losePower(how);
      const after = await start();
      for (const { descriptor, bytes } of images) {
        expect(after.info(descriptor.digest)?.verifiedAt).not.to.equal(undefined);
        const stored = await after.open(descriptor);
        expect(stored && Buffer.compare(await readAll(stored), bytes)).to.equal(0);
      }
      await after.close();
    });
  }

  it('syncs the blobs, then their folder, then the marker before it has its name, and each blob once', async () => {
    const before = await start();
    for (const { descriptor, bytes } of images) await (await ingest(before, descriptor, sourceOf(bytes))).settled;
    await before.close();
    expect(log.map((path) => path.replace(/[0-9a-f-]{36,}$/, '*'))).to.deep.equal([
      ...images.map(() => 'v1/blobs/sha256/*'),
      'v1/blobs/sha256',
      'v1/clean.new',
      'v1',
    ]);
    log.length = 0;
    await (await start()).close();
    expect(log.filter((path) => path.startsWith('v1/blobs/sha256/'))).to.deep.equal([]);
    expect(readdirSync(join(directory, 'v1')).sort()).to.deep.equal(['blobs', 'clean', 'ingest']);
  });

  for (const [what, make] of [
    ['a pipe', (path: string) => execFileSync('mkfifo', [path])],
    ['a link to a file without an end', (path: string) => execFileSync('ln', ['-s', '/dev/zero', path])],
    ['a file of 200 MiB', (path: string) => execFileSync('truncate', ['--size=200M', path])],
  ] as const) {
    it(`is not read if it is ${what}, and does not delay the start`, async () => {
      await (await start()).close();
      rmSync(join(directory, 'v1/clean'));
      make(join(directory, 'v1/clean'));
      await (await start()).close();
      expect(statSync(join(directory, 'v1/clean')).size).to.equal(0);
    });
  }

  it('does not list a blob that cannot be synced, so that its next use verifies it', async () => {
    const before = await start();
    for (const { descriptor, bytes } of images) await (await ingest(before, descriptor, sourceOf(bytes))).settled;
    sinon.restore();
    sinon.stub(proto, 'datasync').rejects(Object.assign(new Error('EIO'), { code: 'EIO' }));
    await before.close();
    sinon.restore();
    const after = await start();
    for (const { descriptor, bytes } of images) {
      expect(after.info(descriptor.digest)?.verifiedAt).to.equal(undefined);
      const stored = await after.open(descriptor);
      expect(stored && Buffer.compare(await readAll(stored), bytes)).to.equal(0);
    }
    await after.close();
  });
});

describe('scan', () => {
  let directory: string;
  let layout: Layout;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'recovery-'));
    layout = new Layout(directory);
  });

  it('counts a time of use that no date can hold as the oldest one', async () => {
    const path = join(directory, 'file');
    writeFileSync(path, new Uint8Array(1));
    const blobs = [1e18, 1e12].map((mtimeMs, index) => {
      const { digest } = makeBlob('application/octet-stream', bytesOf(64, index)).descriptor;
      const stats = Object.assign(statSync(path), { mtimeMs, mtime: new Date(mtimeMs) });
      return { digest, path, stats };
    });
    sinon.stub(layout.blobs, 'list').resolves({ blobs, strangers: [] });
    const ledger = new Ledger(1e9);
    expect(await scan(layout, ledger)).to.equal(1e12);
    expect(ledger.list().map(({ digest, usedMs }) => [digest, usedMs])).to.deep.equal([
      [blobs[0]?.digest, 0],
      [blobs[1]?.digest, 1e12],
    ]);
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  it('lists files with the name of a digest, and ignores other files next to them', async () => {
    const name = names
      .filter((text) => !/[/\0]/.test(text) && text !== '.' && text !== '..' && Buffer.byteLength(text) <= 255)
      // What UTF-8 cannot write, a directory cannot either.
      .filter((text) => text.isWellFormed());
    const entry = fc.tuple(name, fc.constantFrom('file', 'directory', 'link'), fc.nat(99));
    const entries = fc.uniqueArray(entry, { selector: ([text]) => text, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(entries, async (list) => {
        rmSync(layout.blobs.path, { recursive: true, force: true });
        mkdirSync(layout.blobs.path, { recursive: true });
        for (const [text, kind, size] of list) {
          const path = join(layout.blobs.path, text);
          if (kind === 'file') writeFileSync(path, new Uint8Array(size));
          else if (kind === 'directory') mkdirSync(path);
          else symlinkSync('/etc/hostname', path);
        }
        const ledger = new Ledger(1e9);
        await scan(layout, ledger);
        const found = ledger.list().map(({ digest, size }) => [digest, size]);
        const expected = list
          .filter(([text, kind]) => kind === 'file' && isHex(text))
          .map(([text, , size]) => [`sha256:${text}`, size]);
        expect(found).to.have.deep.members(expected);
      }),
    );
  });
});
