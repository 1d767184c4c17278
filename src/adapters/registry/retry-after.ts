/** The Retry-After header: how long an upstream asks us to wait (RFC 9110 section 10.2.3). */
import type { IncomingHttpHeaders } from 'node:http';

/** A longer wait is cut to this: nodes that wait for a package would rather try another replica. */
const MAX_SECONDS = 60;

/** The three forms of an HTTP date, of which the last does not say that it is GMT (section 5.6.7). */
const HTTP_DATES = [
  /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/,
  /^\w{6,9}, \d\d-\w{3}-\d\d \d\d:\d\d:\d\d GMT$/,
  /^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$/,
];

/** The wait that an answer asks for. A date is compared with the answer's own `Date`: our clock may be an hour off. */
export function retryAfterOf({ 'retry-after': header, date = '' }: IncomingHttpHeaders): number | undefined {
  const sentAt = parseDate(date);
  return parseRetryAfter(header, Number.isNaN(sentAt) ? new Date() : new Date(sentAt));
}

/** Seconds from `now` on, at most 60; undefined for what is neither a number of seconds nor a date. */
export function parseRetryAfter(header: string | undefined, now: Date): number | undefined {
  if (header === undefined || header.length > 64) return undefined;
  const text = header.trim();
  const seconds = /^\d+$/.test(text) ? Number(text) : (parseDate(text) - now.getTime()) / 1000;
  if (Number.isNaN(seconds)) return undefined;
  return Math.min(Math.max(0, Math.ceil(seconds)), MAX_SECONDS);
}

/** Milliseconds, or NaN. Date.parse alone would read `1.5` or `-5` as a moment in 2001. */
function parseDate(text: string): number {
  if (!HTTP_DATES.some((form) => form.test(text))) return NaN;
  return Date.parse(text.endsWith('GMT') ? text : `${text} GMT`);
}
