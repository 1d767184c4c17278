/** Makes commands, and compares store and model after each of them. */
import { expect } from 'chai';
import type fc from 'fast-check';
import { bytesOf, makeBlob, type TestBlob } from '../support/image.ts';
import type { RealStore } from './real-store.ts';
import type { StoreModel } from './store-model.ts';

export type Command = fc.AsyncCommand<StoreModel, RealStore>;

/** About half of the blobs below fit at once. */
export const MAX_BYTES = 160 * 1024;

/** Sizes: empty, within a block, small enough for memory, larger than the withheld tail, and larger than the store. */
export const BLOBS: readonly TestBlob[] = [0, 1, 4096, 4097, 20_000, 20_000, 65_537, 90_000, 140_000, 200_000].map(
  (size, seed) => makeBlob('application/octet-stream', bytesOf(size, seed + 1)),
);

type Does = (model: StoreModel, real: RealStore) => void | Promise<void>;

/** A command that changes store and model if `can` allows it; a failure prints its text. */
export function command(text: string, does: Does, can: (model: StoreModel) => boolean = () => true): Command {
  return {
    check: can,
    run: async (model, real) => {
      await does(model, real);
      await agree(model, real);
    },
    toString: () => text,
  };
}

async function agree(model: StoreModel, real: RealStore): Promise<void> {
  // The store releases the last reference to a file one turn of the event loop later.
  await nextTurn();
  const { bytes, entries, evicted, damaged } = real.store.usage;
  expect({ bytes, entries, evicted, damaged }).to.deep.equal({
    bytes: model.bytes,
    entries: model.kept.size,
    evicted: model.evicted,
    damaged: model.damaged,
  });
  expect(bytes).to.be.at.most(model.maxBytes);
  expect(real.names.toSorted()).to.deep.equal(model.names.toSorted());
  // The store does not count bytes that another process has appended.
  if (model.kept.values().some(({ damage }) => damage === 'extend')) return;
  expect(real.bytesOnDisk, 'bytes on the disk').to.be.at.most(bytes);
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The element at `index` modulo the length of the list. */
export function pick<T>(list: readonly T[], index: number): T {
  const found = list[index % list.length];
  if (found === undefined) throw new Error('nothing to pick from');
  return found;
}
