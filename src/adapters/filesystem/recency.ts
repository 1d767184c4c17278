/** Who was used when, told to the files: their access times are the order of the entries after a restart. */
import { utimes } from 'node:fs/promises';
import type { Entry } from './ledger.ts';

/** So much of the order may be lost when the process is killed. */
const FLUSH_INTERVAL_MS = 10_000;

export class Recency {
  readonly #pathOf: (entry: Entry) => string;
  readonly #used = new Map<Entry, number>();
  #lastMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(pathOf: (entry: Entry) => string) {
    this.#pathOf = pathOf;
  }

  /** Of the files that a start finds; on a clock that has gone back, whoever is used from now on is later all the same. */
  startAfter(latestMs: number): void {
    this.#lastMs = Math.max(latestMs, this.#lastMs);
  }

  use(entry: Entry): void {
    // Never the same twice and never backwards, whatever the clock does.
    this.#lastMs = Math.max(Date.now(), this.#lastMs + 1);
    this.#used.set(entry, this.#lastMs);
    this.#timer ??= setTimeout(() => void this.flush(), FLUSH_INTERVAL_MS).unref();
  }

  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const used = [...this.#used];
    this.#used.clear();
    for (const [entry, usedMs] of used) {
      // A file that is gone is missed by its next reader.
      if (entry.kept) await utimes(this.#pathOf(entry), new Date(usedMs), entry.storedAt).catch(() => undefined);
    }
  }
}
