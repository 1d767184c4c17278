/** Writes the order of use to the files: modification times, which no read changes, are the order after a restart. */
import { lutimes } from 'node:fs/promises';
import type { Entry } from './ledger.ts';

/** So much of the order may be lost when the process is killed. */
const FLUSH_INTERVAL_MS = 10_000;
/**
 * In one interval, but at a stop: each is a call that waits for a thread of libuv, and 50 000 small files that are requested in
 * turn would be 5 000 calls a second. A cluster has some hundred packages.
 */
const MOST_AT_ONCE = 2000;
/** So many uses a second leave the clock behind; numbers of seconds since 1970 hold a quarter of it. */
const STEP_MS = 0.001;

export class AccessTimes {
  readonly #pathOf: (entry: Entry) => string;
  readonly #used = new Set<Entry>();
  #lastMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(pathOf: (entry: Entry) => string) {
    this.#pathOf = pathOf;
  }

  /** From now on, everything is used later than then. */
  startAfter(usedMs: number): void {
    this.#lastMs = usedMs;
  }

  use(entry: Entry): void {
    // Never the same twice and never backwards, even when the clock is set back.
    this.#lastMs = Math.max(Date.now(), this.#lastMs + STEP_MS);
    entry.usedMs = this.#lastMs;
    this.#used.add(entry);
    this.#timer ??= this.#writeLater();
  }

  /** Writes all that is left. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    return this.#write(Infinity);
  }

  #writeLater(): NodeJS.Timeout {
    return setTimeout(() => {
      const isLeft = this.#used.size > MOST_AT_ONCE;
      this.#timer = isLeft ? this.#writeLater() : undefined;
      void this.#write(MOST_AT_ONCE);
    }, FLUSH_INTERVAL_MS).unref();
  }

  /** Those first that wait longest. */
  async #write(most: number): Promise<void> {
    const written = [...this.#used.values().take(most)];
    for (const entry of written) this.#used.delete(entry);
    for (const entry of written) {
      const usedSeconds = entry.usedMs / 1000;
      // A file that is gone is missed by its next reader.
      if (entry.kept) await lutimes(this.#pathOf(entry), usedSeconds, usedSeconds).catch(() => undefined);
    }
  }
}
