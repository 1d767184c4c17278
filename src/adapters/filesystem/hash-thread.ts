/** sha256 of growing files, beside the main thread: it moves no bytes between them, both have the file. */
import { Worker } from 'node:worker_threads';
import type { HashAnswer, HashOrder } from './hash-worker.ts';

/** One file that grows. The descriptor stays open until `digest` or `forget` has settled. */
export interface FileHash {
  /** All bytes before `end` have been written. */
  grow(end: number): void;
  /** The digest of them in hex. Rejects when they cannot be read. */
  digest(): Promise<string>;
  /** Ends it without a digest. */
  forget(): Promise<void>;
}

/** A thread that begins with the first file and lasts until it is closed; it keeps no process from ending. */
export class HashThread {
  readonly #waiting = new Map<number, PromiseWithResolvers<string | undefined>>();
  #worker: Worker | undefined;
  #files = 0;

  hash(fd: number): FileHash {
    const id = this.#files++;
    const worker = (this.#worker ??= this.#start());
    let written = 0;
    const order = (then: HashOrder['then']): void => {
      worker.postMessage({ id, fd, end: written, then } satisfies HashOrder);
    };
    const answer = (then: 'digest' | 'forget'): Promise<string | undefined> => {
      // From a thread that has died, for want of a descriptor say, no answer would ever come.
      if (this.#worker !== worker) return Promise.resolve(undefined);
      const waiting = Promise.withResolvers<string | undefined>();
      this.#waiting.set(id, waiting);
      worker.ref();
      order(then);
      return waiting.promise;
    };
    return {
      grow: (end) => {
        written = end;
        order('more');
      },
      digest: async () => {
        const hex = await answer('digest');
        if (hex === undefined) throw new Error('file could not be hashed');
        return hex;
      },
      forget: async () => {
        await answer('forget');
      },
    };
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    // The script is beside this file: `.ts` in the sources, `.mjs` in the bundle.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'mjs';
    const worker = new Worker(new URL(`./hash-worker.${extension}`, import.meta.url));
    worker.unref();
    worker.on('message', ({ id, hex }: HashAnswer) => {
      this.#settle(id, hex);
    });
    // No file waits for a thread that has died; the next file has a new one.
    worker.once('error', () => undefined);
    worker.once('exit', () => {
      if (this.#worker === worker) this.#worker = undefined;
      for (const id of this.#waiting.keys()) this.#settle(id, undefined);
    });
    return worker;
  }

  #settle(id: number, hex: string | undefined): void {
    this.#waiting.get(id)?.resolve(hex);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#worker?.unref();
  }
}
