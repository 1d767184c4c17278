/** The waits that hosts have asked for by Retry-After. */

/** A registry that refuses each of many URLs for a minute does not fill the memory. */
const MAX_WAITS = 1000;

export class RetryGate {
  /** By host or URL, on the monotonic clock, in milliseconds. */
  readonly #closedUntil = new Map<string, number>();

  /**
   * A 429 is about the client, so it closes the host. Any other status closes its URL only: Varnish answers 503 with
   * Retry-After: 5 whenever one object fails behind it. The longest of several waits counts: the others were asked for
   * before it.
   */
  close(url: URL, status: number, seconds: number): void {
    const now = performance.now();
    for (const [key, until] of this.#closedUntil) if (until <= now) this.#closedUntil.delete(key);
    const key = status === 429 ? url.host : url.href;
    const until = Math.max(now + seconds * 1000, this.#closedUntil.get(key) ?? 0);
    const [oldest] = this.#closedUntil.keys();
    if (oldest !== undefined && this.#closedUntil.size >= MAX_WAITS) this.#closedUntil.delete(oldest);
    this.#closedUntil.set(key, until);
  }

  /** A time of the monotonic clock, in milliseconds; 0 for a URL that no wait was asked for. */
  opensAt({ host, href }: URL): number {
    return Math.max(this.#closedUntil.get(host) ?? 0, this.#closedUntil.get(href) ?? 0);
  }

  /** How many waits are remembered. */
  get size(): number {
    return this.#closedUntil.size;
  }
}
