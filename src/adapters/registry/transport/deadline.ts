/** The end of a request's patience. */

/**
 * The time runs from its first use on, which is the first failure or wait: a slow first answer takes nothing of it. On the
 * monotonic clock, in milliseconds.
 */
export class Deadline {
  readonly #ms: number;
  #at: number | undefined;

  constructor(ms: number) {
    this.#ms = ms;
  }

  get at(): number {
    this.#at ??= performance.now() + this.#ms;
    return this.#at;
  }
}
