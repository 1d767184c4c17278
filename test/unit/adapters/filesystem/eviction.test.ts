import { expect } from 'chai';
import fs, { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sinon from 'sinon';
import { Eviction } from '../../../../src/adapters/filesystem/eviction.ts';
import { FilesystemPackageStore } from '../../../../src/adapters/filesystem/filesystem-package-store.ts';
import { type Entry, Ledger } from '../../../../src/adapters/filesystem/ledger.ts';
import { digestOf } from '../../../../src/domain/descriptor.ts';
import { StoreFailedError, StoreFullError } from '../../../../src/domain/errors.ts';
import { type DiskRules, limitDisk } from '../../../support/full-disk.ts';
import { bytesOf, makeBlob, type TestBlob } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';
import { HeldSource, ingest, readAll, readSome, sourceOf } from '../../../support/source.ts';

const KIB = 1024;
const BLOCK = 4096;
const blob = (kib: number, seed: number): TestBlob => makeBlob('application/octet-stream', bytesOf(kib * KIB, seed));

describe('Eviction', () => {
  const digest = (n: number) => digestOf(Buffer.from(String(n)));
  const removing =
    (ledger: Ledger, then: (entry: Entry) => void = () => undefined) =>
    (entry: Entry): void => {
      ledger.remove(entry);
      then(entry);
    };
  const full = (blocks: number): Ledger => {
    const ledger = new Ledger(blocks * BLOCK);
    for (let n = 0; n < blocks; n++) ledger.add(digest(n), BLOCK, new Date(0), 0);
    return ledger;
  };

  it('evicts only as many bytes as each write needs, even if a blob replaces many files', () => {
    const ledger = full(1000);
    let removed = 0;
    const eviction = new Eviction({ ledger, remove: removing(ledger, () => removed++) });
    const room = ledger.reserve(900 * BLOCK);
    if (room === undefined) throw new Error('no room');
    for (let end = 32; end <= 900; end += 32) {
      const before = removed;
      eviction.grow(room, end * BLOCK);
      expect(removed - before).to.equal(32);
    }
    expect([eviction.evicted, ledger.bytes]).to.deep.equal([896, 1000 * BLOCK]);
  });

  it('evicts in several turns of the event loop after the maximum size was lowered', async () => {
    const ledger = full(3000);
    ledger.limit = 0;
    const turns: number[] = [];
    let removed = 0;
    const eviction = new Eviction({ ledger, remove: removing(ledger, () => removed++) });
    const fitting = eviction.fit();
    for (let at = -1; at !== removed;) {
      turns.push(removed - Math.max(at, 0));
      at = removed;
      await new Promise((resolve) => setImmediate(resolve));
    }
    await fitting;
    expect(removed).to.equal(3000);
    expect(Math.max(...turns)).to.be.at.most(512);
  });

  it('reports the error of a file that cannot be removed, and continues to count it', () => {
    const ledger = full(4);
    const cause = Object.assign(new Error('EROFS'), { code: 'EROFS' });
    const eviction = new Eviction({
      ledger,
      remove: () => {
        throw new StoreFailedError({ cause });
      },
    });
    const room = ledger.reserve(2 * BLOCK);
    if (room === undefined) throw new Error('no room');
    expect(() => {
      eviction.grow(room, BLOCK);
    })
      .to.throw(StoreFailedError)
      .with.property('cause', cause);
    expect([ledger.entries, ledger.bytes, eviction.evicted]).to.deep.equal([4, 4 * BLOCK, 0]);
  });

  it('fails a download if readers use the entries that it would have to evict', () => {
    const ledger = full(4);
    const eviction = new Eviction({ ledger, remove: removing(ledger) });
    const room = ledger.reserve(2 * BLOCK);
    if (room === undefined) throw new Error('no room');
    for (const entry of ledger.list().slice(0, 3)) ledger.pin(entry);
    eviction.grow(room, BLOCK);
    expect(() => {
      eviction.grow(room, 2 * BLOCK);
    })
      .to.throw(StoreFailedError)
      .with.property('cause')
      .instanceOf(StoreFullError);
  });

  it('lowers the limit to the size on the volume when a write finds no free block', () => {
    const ledger = full(8);
    const evicted: Entry[] = [];
    const eviction = new Eviction({ ledger, remove: removing(ledger, (entry) => evicted.push(entry)) });
    expect(eviction.relieve(2 * BLOCK, new Error('ENOSPC'))).to.equal(true);
    expect([evicted.length, ledger.limit, ledger.bytes]).to.deep.equal([2, 6 * BLOCK, 6 * BLOCK]);
    for (const entry of ledger.list()) ledger.pin(entry);
    expect(eviction.relieve(1, new Error('ENOSPC'))).to.equal(false);
  });
});

describe('FilesystemPackageStore on a full volume', () => {
  let directory: string;
  let store: FilesystemPackageStore;
  let unlimit: (() => void) | undefined;
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'full-volume-'));
    store = new FilesystemPackageStore({ directory, maxBytes: 1024 * KIB });
    await store.load();
  });
  afterEach(async () => {
    unlimit?.();
    await store.close();
    rmSync(directory, { recursive: true });
  });

  async function keep({ descriptor, bytes }: TestBlob): Promise<void> {
    await (
      await ingest(store, descriptor, sourceOf(bytes))
    ).settled;
    await new Promise(setImmediate);
  }

  async function has({ descriptor }: TestBlob): Promise<boolean> {
    const stored = await store.open(descriptor);
    await stored?.close();
    return stored !== undefined;
  }

  /** A volume of `kib` KiB on which only the files of the store use room. */
  function volumeOf(kib: number, code?: DiskRules['code']): void {
    unlimit = limitDisk(directory, {
      fits: () => store.usage.bytes <= kib * KIB,
      free: () => Math.max(0, kib * KIB - store.usage.bytes),
      ...(code !== undefined && { code }),
    });
  }

  for (const code of ['ENOSPC', 'EDQUOT'] as const) {
    it(`continues to cache within the available room (${code})`, async () => {
      volumeOf(500, code);
      const blobs = Array.from({ length: 8 }, (_, seed) => blob(200, seed + 1));
      for (const given of blobs) {
        await keep(given);
        expect(await has(given)).to.equal(true);
      }
      expect(store.usage).to.include({ entries: 2, evicted: 6 });
      expect(store.usage.limitBytes).to.be.within(400 * KIB, 500 * KIB);
      expect(store.usage.failures).to.deep.equal({});
    });
  }

  it('raises the limit to the maximum again when the volume has room', async () => {
    volumeOf(500);
    for (const seed of [1, 2, 3]) await keep(blob(200, seed));
    expect(store.usage.limitBytes).to.be.at.most(500 * KIB);
    unlimit?.();
    for (const seed of [4, 5, 6]) await keep(blob(200, seed));
    expect(store.usage).to.include({ limitBytes: 1024 * KIB, entries: 5 });
  });

  it('refuses a package larger than the volume before it asks the registry', async () => {
    volumeOf(300);
    const source = new HeldSource();
    expect(await rejection(ingest(store, blob(400, 1).descriptor, source.source))).to.be.instanceOf(StoreFullError);
    expect(source.opened).to.equal(0);
  });

  for (const code of ['EIO', 'EROFS'] as const) {
    it(`evicts nothing when the disk is broken (${code}), and counts blobs that it could not store`, async () => {
      for (const seed of [1, 2]) await keep(blob(200, seed));
      volumeOf(0, code);
      const incoming = await ingest(store, blob(200, 3).descriptor, sourceOf(blob(200, 3).bytes));
      const reader = incoming.read();
      expect(await rejection(readAll(reader))).to.be.instanceOf(StoreFailedError);
      await rejection(incoming.settled);
      await new Promise(setImmediate);
      expect(store.usage).to.deep.include({ entries: 2, evicted: 0, limitBytes: 1024 * KIB, failures: { [code]: 1 } });
      expect(readdirSync(join(directory, 'v1/ingest'))).to.deep.equal([]);
    });
  }

  it('continues to serve an evicted entry whose file cannot be removed', async () => {
    const [first, second] = [blob(500, 1), blob(500, 2)];
    for (const given of [first, second]) await keep(given);
    const cause = Object.assign(new Error('EROFS'), { code: 'EROFS' });
    const rmSync = sinon.stub(fs, 'rmSync').throws(cause);
    syncBuiltinESMExports();
    unlimit = () => {
      rmSync.restore();
      syncBuiltinESMExports();
    };
    const incoming = await ingest(store, blob(500, 3).descriptor, sourceOf(blob(500, 3).bytes));
    expect(await rejection(incoming.settled))
      .to.be.instanceOf(StoreFailedError)
      .with.property('cause', cause);
    await new Promise(setImmediate);
    for (const given of [first, second]) expect(await has(given)).to.equal(true);
    expect(store.usage).to.deep.include({ entries: 2, evicted: 0, damaged: 0, failures: { EROFS: 1 } });
  });

  it('lets readers read the bytes that were stored before the volume was full', async () => {
    const { descriptor, bytes } = blob(300, 1);
    const held = new HeldSource().give(bytes.subarray(0, 150_000));
    const incoming = await ingest(store, descriptor, held.source);
    const reader = incoming.read();
    expect(Buffer.compare(await readSome(reader, 150_000), bytes.subarray(0, 150_000))).to.equal(0);
    volumeOf(0);
    held.give(bytes.subarray(150_000));
    expect(await rejection(reader.read(150_000))).to.be.instanceOf(StoreFailedError);
    const late = incoming.read();
    expect(await rejection(incoming.settled)).to.be.instanceOf(StoreFailedError);
    for (const each of [reader, late]) {
      expect(Buffer.compare(await readSome(each, 150_000), bytes.subarray(0, 150_000))).to.equal(0);
      await each.close();
    }
    await new Promise(setImmediate);
    expect(store.usage.bytes).to.equal(0);
  });

  it('reports a full volume also when another write has lowered the limit', async () => {
    const { descriptor, bytes } = blob(300, 1);
    const held = new HeldSource().give(bytes.subarray(0, 100_000));
    const incoming = await ingest(store, descriptor, held.source);
    const reader = incoming.read();
    await readSome(reader, 100_000);
    volumeOf(0);
    const other = await ingest(store, blob(1, 2).descriptor, sourceOf(blob(1, 2).bytes));
    await rejection(other.settled);
    expect(store.usage.limitBytes).to.be.below(300 * KIB);
    held.give(bytes.subarray(100_000)).end();
    await rejection(incoming.settled);
    await reader.close();
    await new Promise(setImmediate);
    expect(store.usage.failures).to.deep.equal({ ENOSPC: 2 });
  });

  it('counts a failure when the file of a blob cannot be created', async () => {
    rmSync(join(directory, 'v1/ingest'), { recursive: true });
    writeFileSync(join(directory, 'v1/ingest'), 'no folder');
    expect(await rejection(store.reserve(blob(200, 1).descriptor))).to.be.instanceOf(StoreFailedError);
    await new Promise(setImmediate);
    expect(store.usage).to.deep.include({ bytes: 0, failures: { other: 1 } });
  });

  it('sets the size of the file before the bytes of a blob arrive, so that no blocks are reserved after its end', async () => {
    const { descriptor, bytes } = blob(300, 1);
    const held = new HeldSource().give(bytes.subarray(0, 100_000));
    const reader = (await ingest(store, descriptor, held.source)).read();
    await readSome(reader, 100_000);
    const [name = ''] = readdirSync(join(directory, 'v1/ingest'));
    expect(statSync(join(directory, 'v1/ingest', name)).size).to.equal(descriptor.size);
    held.give(bytes.subarray(100_000)).end();
    await readAll(reader);
  });

  it('does not count a failure of the source as a failure of the store', async () => {
    const incoming = await ingest(store, blob(200, 1).descriptor, sourceOf(bytesOf(200 * KIB, 9)));
    await rejection(incoming.settled);
    expect(store.usage.failures).to.deep.equal({});
  });
});
