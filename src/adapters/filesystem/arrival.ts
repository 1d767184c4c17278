/** Writes the file of an arriving blob and verifies its bytes: a small blob on the main thread, a large one in another thread. */
import { Worker } from 'node:worker_threads';
import type { Descriptor } from '../../domain/descriptor.ts';
import { DigestMismatchError, StoreFailedError } from '../../domain/errors.ts';
import { Verifier } from '../../domain/verifier.ts';
import { writeAt } from '../blobs/blob-file.ts';
import type { ArrivalAnswer, ArrivalOrder } from './arrival-worker.ts';

/** For a smaller blob, which has one or two chunks, the messages to the thread take longer than the hash. */
const THREADED_BYTES = 1024 * 1024;
/** The size of one write of a small blob. */
const WRITE_BYTES = 128 * 1024;
/** Bytes outside of shared memory are copied for the thread, at most this many at a time, into a reused buffer. */
const MAX_COPIED_BYTES = 512 * 1024;

/** One arriving file. The caller awaits each call before the next one, and keeps the descriptor open until then. */
export interface Arrival {
  /**
   * Writes all or the first of the bytes at `at`, which must follow the bytes of the previous call. Resolves with the number of
   * written bytes; the bytes must not change until then. Rejects with the error of the file system, or if the thread has crashed.
   */
  write(bytes: Uint8Array, at: number): Promise<number>;
  /** Rejects with DigestMismatchError if the written bytes are not those of the descriptor. */
  conclude(): Promise<void>;
  /** Ends the arrival without a verification. */
  abandon(): void;
}

/** Starts the thread while the upstream of a large blob is opened, because the start takes 20 ms or more. */
export function expectArrival({ size }: Descriptor, thread: ArrivalThread): void {
  if (size >= THREADED_BYTES) thread.begin();
}

/** `fd` is open for writing. */
export function beginArrival(descriptor: Descriptor, fd: number, thread: ArrivalThread): Arrival {
  return descriptor.size < THREADED_BYTES ? onMainThread(descriptor, fd) : thread.file(descriptor, fd);
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

/** A thread that starts with `begin` or with the first file, and runs until it is closed. It does not keep the process alive. */
export class ArrivalThread {
  readonly #waiting = new Map<number, PromiseWithResolvers<ArrivalAnswer>>();
  #worker: Worker | undefined;
  /** The reason why the thread could not start, or why it has crashed. */
  #failure: unknown;
  #files = 0;

  /** Starts the thread if it does not run. If the system has no thread left, files fail. */
  begin(): Worker | undefined {
    try {
      this.#worker ??= this.#start();
    } catch (error) {
      this.#failure = error;
    }
    return this.#worker;
  }

  /** Begins a file with a descriptor that is open for writing. */
  file({ digest }: Pick<Descriptor, 'digest'>, fd: number): Arrival {
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
      // A thread that has crashed, for example without memory, would never answer.
      if (worker === undefined || this.#worker !== worker) return Promise.reject(this.#ended());
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
      conclude: async () => {
        const { hex = '' } = await ask({ kind: 'digest', id }).catch((cause: unknown) => {
          throw new StoreFailedError({ cause });
        });
        const found = `sha256:${hex}`;
        if (found !== digest) throw new DigestMismatchError(digest, found);
      },
      abandon: () => {
        worker?.postMessage({ kind: 'forget', id } satisfies ArrivalOrder);
      },
    };
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    // The script is next to this file: `.ts` in the sources, `.mjs` in the bundle.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'mjs';
    const worker = new Worker(new URL(`./arrival-worker.${extension}`, import.meta.url));
    worker.unref();
    worker.on('message', (answer: ArrivalAnswer) => {
      this.#settle(answer.id, (waiting) => {
        waiting.resolve(answer);
      });
    });
    // When the thread crashes, its pending files fail (see 'exit'), and the next file starts a new thread.
    worker.once('error', (error) => {
      this.#failure = error;
    });
    worker.once('exit', () => {
      if (this.#worker === worker) this.#worker = undefined;
      for (const id of this.#waiting.keys()) {
        this.#settle(id, (waiting) => {
          waiting.reject(this.#ended());
        });
      }
    });
    return worker;
  }

  #ended(): Error {
    return new Error('writing thread does not run', { cause: this.#failure });
  }

  #settle(id: number, settle: (waiting: PromiseWithResolvers<ArrivalAnswer>) => void): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#worker?.unref();
    if (waiting !== undefined) settle(waiting);
  }
}
