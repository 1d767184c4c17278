/** Writes and hashes large arrivals beside the main thread. */
import { Worker } from 'node:worker_threads';
import type { ArrivalAnswer, ArrivalOrder } from './arrival-worker.ts';

/** One file that arrives. Each call is awaited before the next one, and the descriptor stays open until then. */
export interface ThreadedFile {
  /**
   * Writes the bytes at `at`, or some of them from the first on, and hashes those that it wrote, which follow on those of the
   * call before. Resolves with how many these are. The bytes must not change until then. Rejects with the error of the file
   * system, or of a thread that has died.
   */
  write(bytes: Uint8Array, at: number): Promise<number>;
  /** The digest of all that was written, in hex. */
  digest(): Promise<string>;
  /** Ends it without a digest. */
  forget(): void;
}

/** Bytes that the thread cannot see are copied for it, so many at a time, into memory that is used again for the next ones. */
const MAX_COPIED_BYTES = 512 * 1024;

/** A thread that begins when it is told to, or with the first file, and lasts until it is closed; it keeps no process from ending. */
export class ArrivalThread {
  readonly #waiting = new Map<number, PromiseWithResolvers<ArrivalAnswer>>();
  #worker: Worker | undefined;
  #files = 0;

  /** Nothing happens when it runs already. */
  begin(): Worker {
    return (this.#worker ??= this.#start());
  }

  /** The file of a descriptor that is open for writing. */
  file(fd: number): ThreadedFile {
    const id = this.#files++;
    const worker = this.begin();
    let copies = new Uint8Array(new SharedArrayBuffer(0));
    const visible = (bytes: Uint8Array): Uint8Array => {
      if (bytes.buffer instanceof SharedArrayBuffer) return bytes;
      const some = bytes.subarray(0, MAX_COPIED_BYTES);
      if (copies.byteLength < some.byteLength) copies = new Uint8Array(new SharedArrayBuffer(some.byteLength));
      copies.set(some);
      return copies.subarray(0, some.byteLength);
    };
    const ask = (order: ArrivalOrder): Promise<ArrivalAnswer> => {
      // From a thread that has died, for want of memory say, no answer would ever come.
      if (this.#worker !== worker) return Promise.reject(new Error('writing thread has ended unexpectedly'));
      const waiting = Promise.withResolvers<ArrivalAnswer>();
      this.#waiting.set(id, waiting);
      worker.ref();
      worker.postMessage(order);
      return waiting.promise;
    };
    return {
      write: async (bytes, at) => {
        const { written = 0, failure } = await ask({ kind: 'write', id, fd, bytes: visible(bytes), at });
        if (failure !== undefined) throw Object.assign(new Error(failure.message), { code: failure.code });
        return written;
      },
      digest: async () => (await ask({ kind: 'digest', id })).hex ?? '',
      forget: () => {
        worker.postMessage({ kind: 'forget', id } satisfies ArrivalOrder);
      },
    };
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    // The script is beside this file: `.ts` in the sources, `.mjs` in the bundle.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'mjs';
    const worker = new Worker(new URL(`./arrival-worker.${extension}`, import.meta.url));
    worker.unref();
    worker.on('message', (answer: ArrivalAnswer) => {
      this.#settle(answer.id, (waiting) => {
        waiting.resolve(answer);
      });
    });
    // No file waits for a thread that has died; the next file has a new one.
    worker.once('error', () => undefined);
    worker.once('exit', () => {
      if (this.#worker === worker) this.#worker = undefined;
      for (const id of this.#waiting.keys()) {
        this.#settle(id, (waiting) => {
          waiting.reject(new Error('writing thread has ended unexpectedly'));
        });
      }
    });
    return worker;
  }

  #settle(id: number, settle: (waiting: PromiseWithResolvers<ArrivalAnswer>) => void): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#worker?.unref();
    if (waiting !== undefined) settle(waiting);
  }
}
