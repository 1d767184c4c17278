/** Measures every 50 ms how much of its volume a cache takes. */
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

export interface WatchedCache {
  readonly directory: string;
  /** The process of the service, whose open files are included. */
  readonly pid: number;
  readonly maxBytes: number;
}

export interface BudgetSamples {
  readonly count: number;
  readonly peakBytes: number;
  /** The number of measurements above the limit. */
  readonly exceeded: number;
}

export class BudgetWatch {
  readonly #worker: Worker;

  constructor(watched: WatchedCache) {
    this.#worker = new Worker(join(import.meta.dirname, 'budget-worker.ts'), { workerData: watched });
    this.#worker.unref();
  }

  async end(): Promise<BudgetSamples> {
    const answer = once(this.#worker, 'message');
    // The message and the exit can come in the same turn, so both listeners are added first.
    const exit = once(this.#worker, 'exit');
    this.#worker.ref();
    this.#worker.postMessage('end');
    const [samples] = (await answer) as [BudgetSamples];
    await exit;
    return samples;
  }
}
