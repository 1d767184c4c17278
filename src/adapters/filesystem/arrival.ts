/** Writes a file and verifies its bytes: a small blob on the main thread, a large one in the arrival thread. */
import type { Descriptor } from '../../domain/descriptor.ts';
import { DigestMismatchError, StoreFailedError } from '../../domain/errors.ts';
import { Verifier } from '../../domain/verifier.ts';
import { writeAt } from '../blobs/blob-file.ts';
import type { ArrivalThread } from './arrival-thread.ts';

/** For a smaller blob, which has one or two chunks, the messages to the thread take longer than the hash. */
const THREADED_BYTES = 1024 * 1024;
/** The size of one write of a small blob. */
const WRITE_BYTES = 128 * 1024;

/** The caller awaits each call before the next one. */
export interface Arrival {
  /**
   * Writes all or the first of the bytes at `at`, which must follow the bytes of the previous call. Resolves with the number of
   * written bytes. Rejects with the error of the file system.
   */
  write(bytes: Uint8Array, at: number): Promise<number>;
  /** Rejects with DigestMismatchError if the bytes are not those of the descriptor. */
  conclude(): Promise<void>;
  /** Ends the arrival without a verification. */
  abandon(): void;
}

/** Starts the thread while the upstream of a large blob is opened, because the start takes 20 ms or more. */
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
