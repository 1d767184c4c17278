/** Writes the order of use to the files: modification times, which no read changes, are the order after a restart. */
import { lutimes } from 'node:fs/promises';
import type { Entry } from './ledger.ts';

/** So much of the order may be lost when the process is killed. */
const FLUSH_INTERVAL_MS = 10_000;
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
    this.#timer ??= setTimeout(() => void this.flush(), FLUSH_INTERVAL_MS).unref();
  }

  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const used = [...this.#used];
    this.#used.clear();
    for (const entry of used) {
      const usedSeconds = entry.usedMs / 1000;
      // A file that is gone is missed by its next reader.
      if (entry.kept) await lutimes(this.#pathOf(entry), usedSeconds, usedSeconds).catch(() => undefined);
    }
  }
}
