/** Work on a long list, a few items of it at a time. */

/** Begins no more once `signal` is aborted, and ends when all that had begun has. Rejects with the first rejection, or its reason. */
export async function someAtATime<Item>(
  items: Iterable<Item>,
  atATime: number,
  signal: AbortSignal,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  // All workers take from the same iterator.
  const waiting = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (let next = waiting.next(); next.done !== true && !signal.aborted; next = waiting.next())
      await work(next.value);
  };
  const outcomes = await Promise.allSettled(Array.from({ length: atATime }, worker));
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  signal.throwIfAborted();
}
