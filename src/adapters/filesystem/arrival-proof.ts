/** Proves a file while it is written: what is small at once, what is large beside the main thread. */
import type { Descriptor } from '../../domain/descriptor.ts';
import { DigestMismatchError, StoreFailedError } from '../../domain/errors.ts';
import { Verifier } from '../../domain/verifier.ts';
import type { HashThread } from './hash-thread.ts';

/** Up to here the detour takes longer than the sum. */
const THREADED_BYTES = 256 * 1024;

export interface ArrivalProof {
  /** `chunk` has been written, and with it all of the file before `end`. */
  wrote(chunk: Uint8Array, end: number): void;
  /** Rejects with DigestMismatchError when the file is not what it should be. */
  conclude(): Promise<void>;
  /** Ends it without a conclusion; the file may be closed then. */
  abandon(): Promise<void>;
}

export function proveArrival(descriptor: Descriptor, fd: number, thread: HashThread): ArrivalProof {
  if (descriptor.size < THREADED_BYTES) {
    const verifier = new Verifier(descriptor);
    return {
      wrote: (chunk) => {
        verifier.update(chunk);
      },
      conclude: () =>
        new Promise((resolve) => {
          verifier.verify();
          resolve();
        }),
      abandon: () => Promise.resolve(),
    };
  }
  const hash = thread.hash(fd);
  return {
    wrote: (_chunk, end) => {
      hash.grow(end);
    },
    conclude: async () => {
      const hex = await hash.digest().catch((cause: unknown) => {
        throw new StoreFailedError({ cause });
      });
      const found = `sha256:${hex}`;
      if (found !== descriptor.digest) throw new DigestMismatchError(descriptor.digest, found);
    },
    abandon: () => hash.forget(),
  };
}
