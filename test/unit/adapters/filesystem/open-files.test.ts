import { expect } from 'chai';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlockFile, BlockPool } from '../../../../src/adapters/filesystem/block-file.ts';
import { type Entry, Ledger } from '../../../../src/adapters/filesystem/ledger.ts';
import { OpenFiles } from '../../../../src/adapters/filesystem/open-files.ts';
import { digestHex, digestOf } from '../../../../src/domain/descriptor.ts';
import { DigestMismatchError } from '../../../../src/domain/errors.ts';
import { bytesOf } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';

const SMALL = 64 * 1024;
const LARGE = SMALL + 1;

describe('OpenFiles', () => {
  let directory: string;
  let ledger: Ledger;
  let files: OpenFiles;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'open-files-'));
    ledger = new Ledger(1e9);
    files = new OpenFiles(new BlockPool(), pathOf);
  });
  afterEach(() => {
    files.closeAll();
    rmSync(directory, { recursive: true });
  });

  const pathOf = ({ digest }: Entry): string => join(directory, digestHex(digest));
  const open = (entry: Entry) => files.open(entry);
  /** Descriptors of this process that are files of the test. */
  const openHere = (): number =>
    readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith(directory);
      } catch {
        return false;
      }
    }).length;

  function keep(size: number, seed = 1, proved = true): Entry {
    const bytes = bytesOf(size, seed);
    const entry = ledger.add(digestOf(bytes), size, new Date(0), proved ? 0 : undefined);
    writeFileSync(pathOf(entry), bytes);
    return entry;
  }

  it('opens a file once for all readers, at the same time and later', async () => {
    const entry = keep(LARGE);
    const [one, other] = await Promise.all([open(entry), open(entry)]);
    expect(other).to.equal(one);
    expect(await open(entry)).to.equal(one);
    expect(one.content).to.be.instanceOf(BlockFile);
    expect(openHere()).to.equal(1);
  });

  it('holds a small file in memory, without a descriptor', async () => {
    const entry = keep(SMALL);
    const { content } = await open(entry);
    expect(content instanceof Uint8Array && Buffer.compare(content, bytesOf(SMALL)) === 0).to.equal(true);
    expect(openHere()).to.equal(0);
    rmSync(pathOf(entry));
    expect((await open(entry)).content).to.equal(content);
  });

  for (const size of [SMALL, LARGE]) {
    it(`closes a file of ${String(size)} bytes, and opens it again`, async () => {
      const entry = keep(size);
      const before = await open(entry);
      files.close(entry);
      expect(openHere()).to.equal(0);
      files.close(entry);
      expect(await open(entry)).not.to.equal(before);
    });
  }

  it('closes all files', async () => {
    for (const seed of [1, 2, 3]) await open(keep(LARGE, seed));
    expect(openHere()).to.equal(3);
    files.closeAll();
    expect(openHere()).to.equal(0);
  });

  it('keeps at most 256 files open that are not read, and closes the least recently used first', async () => {
    const entries = Array.from({ length: 256 }, (_, seed) => keep(LARGE, seed));
    const [read, oldest, next, second] = entries as [Entry, Entry, Entry, Entry];
    for (const entry of entries) await open(entry);
    ledger.pin(read);
    const opened = await open(next);
    for (const seed of [256, 257]) await open(keep(LARGE, seed));
    expect(openHere()).to.equal(256);
    for (const entry of [oldest, second, read, next]) rmSync(pathOf(entry));
    for (const left of [oldest, second]) expect(await rejection(open(left))).to.have.property('code', 'ENOENT');
    expect((await open(read)).entry).to.equal(read);
    expect(await open(next)).to.equal(opened);
    ledger.unpin(read);
  });

  it('holds thousands of small files in memory, at most 16 MiB', async () => {
    const entries = Array.from({ length: 2000 }, (_, seed) => keep(100, seed));
    for (const entry of entries) await open(entry);
    for (const entry of entries) rmSync(pathOf(entry));
    for (const entry of entries) expect((await open(entry)).entry).to.equal(entry);
    const [read, oldest] = entries as [Entry, Entry];
    ledger.pin(read);
    for (let seed = 0; seed < 256; seed++) await open(keep(SMALL, seed));
    expect((await open(read)).entry).to.equal(read);
    expect(await rejection(open(oldest))).to.have.property('code', 'ENOENT');
    ledger.unpin(read);
  });

  it('keeps small files in memory when more files than fit are requested in turn, and adds a file at its second use', async () => {
    const entries = Array.from({ length: 300 }, (_, seed) => keep(SMALL, seed));
    let now = 0;
    const use = async (entry: Entry): Promise<void> => {
      await open(entry);
      entry.usedMs = ++now;
    };
    for (let round = 0; round < 2; round++) for (const entry of entries) await use(entry);
    const last = entries.at(-1) ?? keep(SMALL);
    await use(last);
    for (const entry of entries) rmSync(pathOf(entry));
    const kept = await Promise.all(entries.map((entry) => open(entry).then(Boolean, () => false)));
    expect(kept.filter(Boolean)).to.have.lengthOf(254);
    expect(kept.at(-1)).to.equal(true);
  });

  it('verifies a small file, too', async () => {
    const entry = keep(SMALL, 1, false);
    await open(entry);
    expect(entry.verifiedMs).to.be.closeTo(Date.now(), 60_000);
    files.close(entry);
    const other = keep(SMALL, 2, false);
    writeFileSync(pathOf(other), bytesOf(SMALL, 3));
    expect(await rejection(open(other))).to.be.instanceOf(DigestMismatchError);
    expect(other.verifiedMs).to.equal(undefined);
  });

  it('refuses a file of another size, reports the sizes, and closes it', async () => {
    const entry = keep(LARGE);
    truncateSync(pathOf(entry), 10);
    const error = await rejection(open(entry));
    expect(error).to.be.instanceOf(DigestMismatchError);
    expect(error).to.include({ expected: `${String(LARGE)} bytes`, found: '10 bytes' });
    expect(openHere()).to.equal(0);
    writeFileSync(pathOf(entry), bytesOf(LARGE));
    expect((await open(entry)).entry).to.equal(entry);
  });

  it('verifies an unverified blob once', async () => {
    const size = 3 * 1024 * 1024 + 7;
    const entry = keep(size, 1, false);
    await open(entry);
    expect(entry.verifiedMs).to.be.closeTo(Date.now(), 60_000);
    files.close(entry);
    writeFileSync(pathOf(entry), bytesOf(size, 2));
    expect((await open(entry)).entry).to.equal(entry);
  });

  it('refuses wrong bytes of an unverified entry, and closes the file', async () => {
    const entry = keep(LARGE, 1, false);
    writeFileSync(pathOf(entry), bytesOf(LARGE, 2));
    expect(await rejection(open(entry))).to.be.instanceOf(DigestMismatchError);
    expect(entry.verifiedMs).to.equal(undefined);
    expect(openHere()).to.equal(0);
  });
});
