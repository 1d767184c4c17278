/** Permits work that costs others: so much of it at once, and then so much a second. */

interface AllowanceOptions {
  readonly burst: number;
  readonly perSecond: number;
  /** Milliseconds on a clock that never jumps. */
  readonly now?: () => number;
}

export class Allowance {
  readonly #options: AllowanceOptions;
  readonly #now: () => number;
  #left: number;
  #at: number;

  constructor(options: AllowanceOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#left = options.burst;
    this.#at = this.#now();
  }

  /** Whether one more is permitted now; it counts then. */
  take(): boolean {
    const { burst, perSecond } = this.#options;
    const now = this.#now();
    this.#left = Math.min(burst, this.#left + ((now - this.#at) / 1000) * perSecond);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
