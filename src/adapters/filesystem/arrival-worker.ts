/** The script of the thread that ArrivalThread starts. */
import { createHash, type Hash } from 'node:crypto';
import { writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

export type ArrivalOrder =
  | {
      readonly kind: 'write';
      readonly id: number;
      readonly fd: number;
      readonly bytes: Uint8Array;
      readonly at: number;
    }
  | { readonly kind: 'digest' | 'forget'; readonly id: number };

/** The answer to `write` and `digest`. */
export interface ArrivalAnswer {
  readonly id: number;
  readonly written?: number;
  /** The error, if no byte was written. */
  readonly failure?: { readonly message: string; readonly code: unknown };
  readonly hex?: string;
}

/**
 * For larger writes the page cache allocates larger pieces of memory. Above 32 KiB, Linux has few free pieces of memory that
 * was in use before, and takes memory that a virtual machine has never used or has returned to its host: writing 64 MiB in
 * pieces of 128 KiB took 200 ms more there. With used memory, pieces of 32 KiB took only 6 ms more processor time.
 */
const WRITE_BYTES = 32 * 1024;

/** The bytes are hashed in pieces of this size, while they are in the cache of the processor after the write. */
const HASH_BYTES = 128 * 1024;

const running = new Map<number, Hash>();

parentPort?.on('message', (order: ArrivalOrder) => {
  const { kind, id } = order;
  const hash = running.get(id) ?? createHash('sha256');
  if (kind === 'write') {
    running.set(id, hash);
    parentPort?.postMessage(write(order, hash));
    return;
  }
  running.delete(id);
  if (kind === 'digest') parentPort?.postMessage({ id, hex: hash.digest('hex') } satisfies ArrivalAnswer);
});

function write({ id, fd, bytes, at }: ArrivalOrder & { kind: 'write' }, hash: Hash): ArrivalAnswer {
  let written = 0;
  let hashed = 0;
  const hashWritten = (): void => {
    hash.update(bytes.subarray(hashed, written));
    hashed = written;
  };
  try {
    while (written < bytes.byteLength) {
      const length = Math.min(WRITE_BYTES, bytes.byteLength - written);
      written += writeSync(fd, bytes, written, length, at + written);
      if (written - hashed >= HASH_BYTES) hashWritten();
    }
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    // Like a system call, a write that fails after some bytes reports these bytes.
    if (written === 0) return { id, failure: { message, code } };
  }
  hashWritten();
  return { id, written };
}
