/** Writes a file and verifies its bytes: of a small blob on the main thread, of a large one beside it. */
import type { Descriptor } from '../../domain/descriptor.ts';
import { DigestMismatchError, StoreFailedError } from '../../domain/errors.ts';
import { Verifier } from '../../domain/verifier.ts';
import { writeAt } from '../blobs/blob-file.ts';
import type { ArrivalThread } from './arrival-thread.ts';

/** Below this the detour takes longer than the sum, and a blob is one or two chunks. */
const THREADED_BYTES = 1024 * 1024;
/** One write of a small blob. */
const WRITE_BYTES = 128 * 1024;

/** Each call is awaited before the next one. */
export interface Arrival {
  /**
   * Writes the bytes at `at`, behind those of the call before, or some of them from the first on. Resolves with how many these
   * are. Rejects with the error of the file system.
   */
  write(bytes: Uint8Array, at: number): Promise<number>;
  /** Rejects with DigestMismatchError when the bytes are not those of the descriptor. */
  conclude(): Promise<void>;
  /** Ends it without a conclusion. */
  abandon(): void;
}

/** Begins the thread while the upstream of a large blob is opened: it takes 20 ms and more to begin. */
export function expectArrival({ size }: Descriptor, thread: ArrivalThread): void {
  if (size >= THREADED_BYTES) thread.begin();
}

export function beginArrival(descriptor: Descriptor, fd: number, thread: ArrivalThread): Arrival {
  return descriptor.size < THREADED_BYTES ? onMainThread(descriptor, fd) : besideIt(descriptor, fd, thread);
}

function onMainThread(descriptor: Descriptor, fd: number): Arrival {
  const verifier = new Verifier(descriptor);
  return {
    write: async (bytes, at) => {
      const written = await writeAt(fd, bytes.subarray(0, WRITE_BYTES), at);
      verifier.update(bytes.subarray(0, written));
      return written;
    },
    conclude: () =>
      new Promise((resolve) => {
        verifier.verify();
        resolve();
      }),
    abandon: () => undefined,
  };
}

function besideIt({ digest }: Descriptor, fd: number, thread: ArrivalThread): Arrival {
  const file = thread.file(fd);
  return {
    write: (bytes, at) => file.write(bytes, at),
    conclude: async () => {
      const hex = await file.digest().catch((cause: unknown) => {
        throw new StoreFailedError({ cause });
      });
      const found = `sha256:${hex}`;
      if (found !== digest) throw new DigestMismatchError(digest, found);
    },
    abandon: () => {
      file.forget();
    },
  };
}
