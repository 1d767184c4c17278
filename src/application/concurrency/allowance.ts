/** Limits the rate of expensive work: a burst, and then a number per second. */

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

  /** Returns whether one more is permitted now, and counts it. */
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
