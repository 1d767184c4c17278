import { expect } from 'chai';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FilesystemPackageStore } from '../../src/adapters/filesystem/filesystem-package-store.ts';
import { ObservedPackageStore } from '../../src/adapters/observers/observed-ports.ts';
import { MemoryPackageStore, storeWith } from '../support/memory-package-store.ts';
import { describePackageStore, describeStoreInspection, type StoreUnderTest } from './package-store.ts';

async function inMemory(maxBytes: number): Promise<StoreUnderTest> {
  const store = new MemoryPackageStore(maxBytes);
  return { store, bytes: () => store.bytes, close: async () => undefined };
}

describePackageStore('MemoryPackageStore', inMemory);
describeStoreInspection('MemoryPackageStore', inMemory);

describePackageStore('ObservedPackageStore', async (maxBytes) => {
  const observed = new MemoryPackageStore(maxBytes);
  const events: string[] = [];
  const store = {
    ...storeWith(new ObservedPackageStore(observed, [({ kind }) => events.push(kind)]), {}),
    list: (most: number) => observed.list(most),
    get usage() {
      return observed.usage;
    },
  };
  return {
    store,
    bytes: () => observed.bytes,
    close: async () => {
      const ended = events.filter((kind) => kind === 'ended');
      expect(ended.length).to.be.at.most(events.length / 2);
    },
  };
});

async function onDisk(maxBytes: number): Promise<StoreUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'package-store-'));
  const store = new FilesystemPackageStore({ directory, maxBytes });
  await store.load();
  return {
    store,
    bytes: () => allocatedBelow(directory),
    close: async () => {
      await store.close();
      expect(await readdir(join(directory, 'v1/ingest'))).to.deep.equal([]);
      expect(store.usage.bytes).to.equal(await allocatedBelow(join(directory, 'v1/blobs')));
      await rm(directory, { recursive: true });
    },
  };
}

describePackageStore('FilesystemPackageStore', onDisk);
describeStoreInspection('FilesystemPackageStore', onDisk);

/** Bytes that the files below a directory take from the volume. */
async function allocatedBelow(directory: string): Promise<number> {
  const names = await readdir(directory, { recursive: true });
  const sizes = names.map(async (name) => {
    const stats = await stat(join(directory, name));
    return stats.isFile() ? stats.blocks * 512 : 0;
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
