/** Work on many packages, a few at a time: what one fails by is no other's concern, unless it is the disk of all of them. */
import { isOneOf } from '../domain/errors.ts';

export interface PackageFailure<Request> {
  readonly request: Request;
  readonly error: unknown;
}

export interface EachPackage<Item> {
  /** At any moment. */
  readonly atATime: number;
  readonly interrupted: AbortSignal;
  /** Is to end soon once the signal is aborted. */
  readonly work: (item: Item, signal: AbortSignal) => Promise<void>;
  readonly onFailure: (item: Item, error: unknown) => void;
}

/** Ends when all that had begun has. Rejects with StoreFailedError or the reason of `interrupted`, and begins nothing more. */
export async function eachPackage<Item>(items: Iterable<Item>, options: EachPackage<Item>): Promise<void> {
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
  await Promise.all(Array.from({ length: options.atATime }, worker));
  signal.throwIfAborted();
}
