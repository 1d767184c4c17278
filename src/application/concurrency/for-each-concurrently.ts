/** Processes many items, a few at a time. The failure of one item does not end the others, except a failure of the disk. */
import { isOneOf } from '../../domain/errors.ts';

interface ForEachOptions<Item> {
  /** The number of items that are processed at a time. */
  readonly concurrency: number;
  readonly interrupted: AbortSignal;
  /** Must end soon after the signal is aborted. */
  readonly work: (item: Item, signal: AbortSignal) => Promise<void>;
  readonly onFailure: (item: Item, error: unknown) => void;
}

/**
 * Resolves when all begun work has ended. Rejects with StoreFailedError or the reason of `interrupted`; then no further work
 * begins.
 */
export async function forEachConcurrently<Item>(items: Iterable<Item>, options: ForEachOptions<Item>): Promise<void> {
  const broken = new AbortController();
  const signal = AbortSignal.any([options.interrupted, broken.signal]);
  const isOver = (): boolean => signal.aborted;
  // All workers share the iterator.
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
