/** How the commands are made, and what must be true of store and model after each. */
import { expect } from 'chai';
import type fc from 'fast-check';
import { bytesOf, makeBlob, type TestBlob } from '../support/image.ts';
import type { RealStore } from './real-store.ts';
import type { StoreModel } from './store-model.ts';

export type Command = fc.AsyncCommand<StoreModel, RealStore>;

/** About half of the blobs below fit at once. */
export const MAX_BYTES = 160 * 1024;

/** Empty, within a block, small enough for memory, with more than is withheld, and one that never fits. */
export const BLOBS: readonly TestBlob[] = [0, 1, 4096, 4097, 20_000, 20_000, 65_537, 90_000, 140_000, 200_000].map(
  (size, seed) => makeBlob('application/octet-stream', bytesOf(size, seed + 1)),
);

type Does = (model: StoreModel, real: RealStore) => void | Promise<void>;

/** Its effect on both, when it applies; its text names it in a failure. */
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
  // The last hold on a file is let go of a turn later.
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
  // Bytes that another process has appended are not in the accounts.
  if (model.kept.values().some(({ damage }) => damage === 'extend')) return;
  expect(real.bytesOnDisk, 'bytes on the disk').to.be.at.most(bytes);
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The element that a number of any size stands for. */
export function pick<T>(list: readonly T[], index: number): T {
  const found = list[index % list.length];
  if (found === undefined) throw new Error('nothing to pick from');
  return found;
}
