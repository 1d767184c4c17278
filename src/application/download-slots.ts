/** Bounds how many downloads run at a time, in all and per registry. An idle download gives its slot to one with a client. */
import { TooManyDownloadsError } from '../domain/errors.ts';
import type { Registry } from '../domain/upstream.ts';

/** A node waits 10 s for the first byte; a request that waits for a slot longer than this gets an error that it can retry. */
const MAX_WAIT_MS = 8000;
/** A client that lost its connection is back within this, and finds its download still running. */
const GRACE_MS = 5000;

/** The right to run one download. */
export interface Slot {
  /** Aborted when another download gets the slot: this one ends. */
  readonly revoked: AbortSignal;
  /** Whether a client waits for the bytes of this download. Only an idle download can lose its slot. */
  setIdle(isIdle: boolean): void;
  /** Must be called once the download has ended; calls after the first have no effect. */
  release(): void;
}

export interface SlotUsage {
  readonly max: number;
  readonly running: number;
  /** Running downloads that no client waits for. */
  readonly idle: number;
  readonly queued: number;
  /** Since the start: downloads that ended because no client waited for them and others waited for a slot. */
  readonly revoked: number;
}

interface DownloadSlotsOptions {
  readonly max: number;
  readonly maxWaitMs?: number;
  readonly graceMs?: number;
}

interface Running {
  readonly registry: Registry;
  readonly revocation: AbortController;
  /** On the monotonic clock; undefined while a client waits. */
  idleSince: number | undefined;
}

interface Waiter {
  readonly registry: Registry;
  readonly grant: (running: Running) => void;
}

export class DownloadSlots {
  readonly #max: number;
  /** One registry that stalls must leave slots for the others. */
  readonly #maxPerRegistry: number;
  readonly #maxWaitMs: number;
  readonly #graceMs: number;
  readonly #running = new Set<Running>();
  /** In the order of arrival. */
  readonly #queue = new Set<Waiter>();
  #revoked = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ max, maxWaitMs = MAX_WAIT_MS, graceMs = GRACE_MS }: DownloadSlotsOptions) {
    this.#max = max;
    this.#maxPerRegistry = Math.ceil((max * 3) / 4);
    this.#maxWaitMs = maxWaitMs;
    this.#graceMs = graceMs;
  }

  get usage(): SlotUsage {
    const idle = this.#running.values().filter(({ idleSince }) => idleSince !== undefined);
    return {
      max: this.#max,
      running: this.#running.size,
      idle: idle.reduce((sum) => sum + 1, 0),
      queued: this.#queue.size,
      revoked: this.#revoked,
    };
  }

  /** Waits for a slot. Rejects with TooManyDownloadsError when none is free in time, or with the reason of `signal`. */
  acquire(registry: Registry, signal: AbortSignal): Promise<Slot> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const leave = (error: unknown): void => {
        done();
        reject(error instanceof Error ? error : new TooManyDownloadsError());
      };
      const onAbort = (): void => {
        leave(signal.reason);
      };
      const timer = setTimeout(leave, this.#maxWaitMs);
      const waiter: Waiter = {
        registry,
        grant: (running) => {
          done();
          resolve(this.#slotOf(running));
        },
      };
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#queue.delete(waiter);
      };
      signal.addEventListener('abort', onAbort);
      this.#queue.add(waiter);
      this.#assign();
    });
  }

  #slotOf(running: Running): Slot {
    return {
      revoked: running.revocation.signal,
      setIdle: (isIdle) => {
        if (isIdle === (running.idleSince !== undefined)) return;
        running.idleSince = isIdle ? performance.now() : undefined;
        if (isIdle) this.#assign();
      },
      release: () => {
        if (this.#running.delete(running)) this.#assign();
      },
    };
  }

  /** Gives slots to waiting downloads: free ones, then those that have been idle for the grace period. */
  #assign(): void {
    clearTimeout(this.#timer);
    let nextMs = Infinity;
    const blocked = new Set<Registry>();
    for (const waiter of [...this.#queue]) {
      const { registry } = waiter;
      if (blocked.has(registry)) continue;
      const isRegistryFull = this.#countOf(registry) >= this.#maxPerRegistry;
      if (isRegistryFull || this.#running.size >= this.#max) {
        const idle = this.#longestIdle(isRegistryFull ? registry : undefined);
        const restMs = idle === undefined ? Infinity : (idle.idleSince ?? Infinity) + this.#graceMs - performance.now();
        if (idle === undefined || restMs > 0) {
          nextMs = Math.min(nextMs, restMs);
          blocked.add(registry);
          continue;
        }
        this.#revoke(idle);
      }
      const running: Running = { registry, revocation: new AbortController(), idleSince: undefined };
      this.#running.add(running);
      waiter.grant(running);
    }
    if (nextMs === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#assign();
    }, Math.ceil(nextMs));
  }

  #countOf(registry: Registry): number {
    return this.#running.values().reduce((sum, each) => sum + (each.registry === registry ? 1 : 0), 0);
  }

  /** Finds it among all running downloads, or those of one registry. */
  #longestIdle(registry: Registry | undefined): Running | undefined {
    let longest: Running | undefined;
    for (const each of this.#running) {
      if (each.idleSince === undefined || (registry !== undefined && each.registry !== registry)) continue;
      if (longest?.idleSince === undefined || each.idleSince < longest.idleSince) longest = each;
    }
    return longest;
  }

  #revoke(running: Running): void {
    this.#running.delete(running);
    this.#revoked++;
    running.revocation.abort(new TooManyDownloadsError());
  }
}
