/** Limits the running downloads, in total and for each host. An idle download loses its slot to one with a client. */
import { TooManyDownloadsError } from '../domain/errors.ts';
import type { Registry } from '../domain/upstream.ts';

/** After this wait for a slot a request gets an error that the client can retry. A node waits 10 s for the first byte. */
const MAX_WAIT_MS = 8000;
/** A client that lost its connection returns within this time, and joins its running download. */
const GRACE_MS = 5000;

/** The right to run one download. */
export interface Slot {
  /** Aborted when another download gets the slot; then this one ends. */
  readonly revoked: AbortSignal;
  /** Whether a client waits for the bytes of this download. Only an idle download can lose its slot. */
  setIdle(isIdle: boolean): void;
  /** Must be called when the download has ended; further calls have no effect. */
  release(): void;
}

export interface SlotUsage {
  readonly max: number;
  readonly running: number;
  /** The number of running downloads for which no client waits. */
  readonly idle: number;
  readonly queued: number;
  /** The number of downloads since the start that lost their slot, because no client waited for them. */
  readonly revoked: number;
}

interface DownloadSlotsOptions {
  readonly max: number;
  readonly maxWaitMs?: number;
  readonly graceMs?: number;
}

interface Running {
  readonly host: string;
  readonly revocation: AbortController;
  /** The time on the monotonic clock; undefined while a client waits. */
  idleSince: number | undefined;
}

interface Waiter {
  readonly host: string;
  readonly grant: (running: Running) => void;
}

export class DownloadSlots {
  readonly #max: number;
  /** The limit for one host, so that a stalled host leaves slots for others, also if many registries are on it. */
  readonly #maxPerHost: number;
  readonly #maxWaitMs: number;
  readonly #graceMs: number;
  readonly #running = new Set<Running>();
  /** The waiting requests in the order of their arrival. */
  readonly #queue = new Set<Waiter>();
  #revoked = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ max, maxWaitMs = MAX_WAIT_MS, graceMs = GRACE_MS }: DownloadSlotsOptions) {
    this.#max = max;
    this.#maxPerHost = Math.ceil((max * 3) / 4);
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

  /** Waits for a slot. Rejects with TooManyDownloadsError if none is free in time, or with the reason of `signal`. */
  acquire({ host }: Registry, signal: AbortSignal): Promise<Slot> {
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
        host,
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

  /** Gives slots to waiting downloads: free ones first, then those of downloads that have been idle for the grace period. */
  #assign(): void {
    clearTimeout(this.#timer);
    let nextMs = Infinity;
    const blocked = new Set<string>();
    for (const waiter of [...this.#queue]) {
      const { host } = waiter;
      if (blocked.has(host)) continue;
      const isHostFull = this.#countOf(host) >= this.#maxPerHost;
      if (isHostFull || this.#running.size >= this.#max) {
        const idle = this.#longestIdle(isHostFull ? host : undefined);
        const restMs = idle === undefined ? Infinity : (idle.idleSince ?? Infinity) + this.#graceMs - performance.now();
        if (idle === undefined || restMs > 0) {
          nextMs = Math.min(nextMs, restMs);
          blocked.add(host);
          continue;
        }
        this.#revoke(idle);
      }
      const running: Running = { host, revocation: new AbortController(), idleSince: undefined };
      this.#running.add(running);
      waiter.grant(running);
    }
    if (nextMs === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#assign();
    }, Math.ceil(nextMs));
  }

  #countOf(host: string): number {
    return this.#running.values().reduce((sum, each) => sum + (each.host === host ? 1 : 0), 0);
  }

  /** Finds the longest idle download, of all or of one host. */
  #longestIdle(host: string | undefined): Running | undefined {
    let longest: Running | undefined;
    for (const each of this.#running) {
      if (each.idleSince === undefined || (host !== undefined && each.host !== host)) continue;
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
