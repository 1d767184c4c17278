/** The other side of HashThread: reads files as they grow, and hashes them. */
import { createHash, type Hash } from 'node:crypto';
import { readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

/** As `end` grows, so may be read. */
export interface HashOrder {
  readonly id: number;
  readonly fd: number;
  readonly end: number;
  /** The step after these bytes: more bytes, the digest, or the end without a digest. */
  readonly then: 'more' | 'digest' | 'forget';
}

/** The answer to an order that is not for more; without `hex` when the file could not be read. */
export interface HashAnswer {
  readonly id: number;
  readonly hex?: string;
}

const READ_AT_ONCE = 512 * 1024;

const buffer = Buffer.allocUnsafeSlow(READ_AT_ONCE);
const running = new Map<number, { readonly hash: Hash; hashed: number; failed: boolean }>();

parentPort?.on('message', ({ id, fd, end, then }: HashOrder) => {
  const state = running.get(id) ?? { hash: createHash('sha256'), hashed: 0, failed: false };
  running.set(id, state);
  if (then !== 'forget') {
    try {
      while (state.hashed < end) {
        const length = readSync(fd, buffer, 0, Math.min(READ_AT_ONCE, end - state.hashed), state.hashed);
        if (length === 0) throw new Error('file is shorter than what was written');
        state.hash.update(buffer.subarray(0, length));
        state.hashed += length;
      }
    } catch {
      state.failed = true;
    }
  }
  if (then === 'more') return;
  running.delete(id);
  const answer: HashAnswer = state.failed || then === 'forget' ? { id } : { id, hex: state.hash.digest('hex') };
  parentPort?.postMessage(answer);
});
