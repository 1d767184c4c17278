/** Work on many items, a few at a time: the failure of one ends no other, unless the disk of all of them fails. */
import { isOneOf } from '../../domain/errors.ts';

interface ForEachOptions<Item> {
  /** How many items are worked on at any moment. */
  readonly concurrency: number;
  readonly interrupted: AbortSignal;
  /** Is to end soon once the signal is aborted. */
  readonly work: (item: Item, signal: AbortSignal) => Promise<void>;
  readonly onFailure: (item: Item, error: unknown) => void;
}

/**
 * Ends once all work that has begun has ended. Rejects with StoreFailedError or the reason of `interrupted`; no other work
 * begins then.
 */
export async function forEachConcurrently<Item>(items: Iterable<Item>, options: ForEachOptions<Item>): Promise<void> {
  const broken = new AbortController();
  const signal = AbortSignal.any([options.interrupted, broken.signal]);
  const isOver = (): boolean => signal.aborted;
  // All workers take from the same iterator.
  const waiting = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (let next = waiting.next(); next.done !== true && !isOver(); next = waiting.next()) {
      try {
        await options.work(next.value, signal);
      } catch (error) {
        if (isOneOf(error, 'STORE_FAILED')) broken.abort(error);
        if (!isOver()) options.onFailure(next.value, error);
      }
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, worker));
  signal.throwIfAborted();
}
