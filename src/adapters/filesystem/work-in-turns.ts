/** Runs work on a hundred thousand entries in turns of the event loop of a few milliseconds. */
import { setImmediate as nextTurn } from 'node:timers/promises';

/** The number of items in one turn; sorting them takes 3 ms. */
const ITEMS_A_TURN = 4096;

/** Calls `work` for each item in order. */
export async function forEachInTurns<Item>(items: Iterable<Item>, work: (item: Item) => void): Promise<void> {
  let done = 0;
  for (const item of items) {
    work(item);
    if (++done % ITEMS_A_TURN === 0) await nextTurn();
  }
}

/** A stable sort that merges sorted runs. */
export async function sortInTurns<Item>(items: readonly Item[], keyOf: (item: Item) => number): Promise<Item[]> {
  let runs: Item[][] = [];
  for (let at = 0; at < items.length; at += ITEMS_A_TURN) {
    runs.push(items.slice(at, at + ITEMS_A_TURN).sort((a, b) => keyOf(a) - keyOf(b)));
    await nextTurn();
  }
  while (runs.length > 1) {
    const merged: Item[][] = [];
    for (let at = 0; at < runs.length; at += 2) merged.push(await merge(runs[at] ?? [], runs[at + 1] ?? [], keyOf));
    runs = merged;
  }
  return runs[0] ?? [];
}

async function merge<Item>(
  left: readonly Item[],
  right: readonly Item[],
  keyOf: (item: Item) => number,
): Promise<Item[]> {
  const merged: Item[] = [];
  await forEachInTurns(inOrder(left, right, keyOf), (item) => merged.push(item));
  return merged;
}

function* inOrder<Item>(left: readonly Item[], right: readonly Item[], keyOf: (item: Item) => number): Generator<Item> {
  let next = 0;
  for (const item of left) {
    for (let other = right[next]; other !== undefined && keyOf(other) < keyOf(item); other = right[++next]) yield other;
    yield item;
  }
  yield* right.slice(next);
}
