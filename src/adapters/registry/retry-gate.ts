/** The waits that hosts have asked for by Retry-After. */

export class RetryGate {
  /** By host or URL, on the monotonic clock, in milliseconds. */
  readonly #closedUntil = new Map<string, number>();

  /** Of several waits that a host asks for at once, the longest counts: the others were asked for before it. */
  close(url: URL, seconds: number): void {
    const now = performance.now();
    for (const [key, until] of this.#closedUntil) if (until <= now) this.#closedUntil.delete(key);
    this.#closedUntil.set(url.host, Math.max(now + seconds * 1000, this.openAt(url)));
  }

  /** A time of the monotonic clock; 0 when the gate was never closed. */
  openAt(url: URL): number {
    return this.#closedUntil.get(url.host) ?? 0;
  }
}
