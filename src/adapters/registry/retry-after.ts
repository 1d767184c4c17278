/** The Retry-After header: how long an upstream asks us to wait (RFC 9110 section 10.2.3). */

/** Whoever asks for more is not believed: nodes that wait for a package would rather try another replica. */
const MAX_SECONDS = 60;

/** Seconds from `now` on, at most 60; undefined for what is neither a number of seconds nor a date. */
export function parseRetryAfter(header: string | undefined, now: Date): number | undefined {
  if (header === undefined || header.length > 64) return undefined;
  const text = header.trim();
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - now.getTime()) / 1000;
  if (Number.isNaN(seconds)) return undefined;
  return Math.min(Math.max(0, Math.ceil(seconds)), MAX_SECONDS);
}
