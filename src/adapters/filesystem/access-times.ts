/** Writes the order of use into the modification times of the files, which reads do not change, for the next start. */
import { lutimes } from 'node:fs/promises';
import type { Entry } from './ledger.ts';

/** A killed process loses the order of at most this time. */
const FLUSH_INTERVAL_MS = 10_000;
/**
 * The limit for one interval, except at a stop. Each write is a call that waits for a thread of libuv, and 50 000 small files
 * that are requested in turn would need 5 000 calls a second. A cluster has some hundred packages.
 */
const MOST_AT_ONCE = 2000;
/** The smallest difference between two uses. Seconds since 1970 in a floating-point number are precise to a quarter of it. */
const STEP_MS = 0.001;

export class AccessTimes {
  readonly #pathOf: (entry: Entry) => string;
  readonly #used = new Set<Entry>();
  #lastMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(pathOf: (entry: Entry) => string) {
    this.#pathOf = pathOf;
  }

  /** Each later use gets a later time than this one. */
  startAfter(usedMs: number): void {
    this.#lastMs = usedMs;
  }

  use(entry: Entry): void {
    // The time always increases, even if the clock is set back.
    this.#lastMs = Math.max(Date.now(), this.#lastMs + STEP_MS);
    entry.usedMs = this.#lastMs;
    this.#used.add(entry);
    this.#timer ??= this.#writeLater();
  }

  /** Writes all times that are not written yet. */
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

  /** Writes the oldest changes first. */
  async #write(most: number): Promise<void> {
    const written = [...this.#used.values().take(most)];
    for (const entry of written) this.#used.delete(entry);
    for (const entry of written) {
      const usedSeconds = entry.usedMs / 1000;
      // A missing file is ignored here; its next reader notices it.
      if (entry.kept) await lutimes(this.#pathOf(entry), usedSeconds, usedSeconds).catch(() => undefined);
    }
  }
}
