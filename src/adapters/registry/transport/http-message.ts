/** The request to a registry, its answer, the authorization of a host, and the errors of refusals. */
import type { IncomingHttpHeaders } from 'node:http';
import {
  type PackageError,
  PackageUnknownError,
  UpstreamDeniedError,
  UpstreamThrottledError,
} from '../../../domain/errors.ts';
import { type Body, HTML, mediaTypeOf, readAtMost } from '../body.ts';
import { type Asked, unavailable, UpstreamFault } from '../upstream-errors.ts';

const MAX_ERROR_BYTES = 4096;
/** The limit for reading the body of an error: its code is only for the log, and a client waits for the error. */
const ERROR_BODY_MS = 1000;

/** The wait for an upstream that throttles without a Retry-After. */
const DEFAULT_RETRY_AFTER_SECONDS = 5;
/** The highest `Retry-After`: after a longer wait, nodes would better try another replica. */
const MAX_SECONDS = 60;

/** The three forms of an HTTP date; the last one does not state GMT (section 5.6.7). */
const HTTP_DATES = [
  /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/,
  /^\w{6,9}, \d\d-\w{3}-\d\d \d\d:\d\d:\d\d GMT$/,
  /^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$/,
];

export interface HttpRequest {
  readonly asked: Asked;
  readonly url: URL;
  /** All hosts of a chain of redirects get these headers, so none of them is a secret. */
  readonly headers: Readonly<Record<string, string>>;
  /** If absent, no host gets an Authorization header. */
  readonly authorize?: AuthorizeHost;
  /** The request is repeated for this long, instead of the time in the settings. */
  readonly patienceMs?: number;
  /** Whether a refused connection is final, because another server can be asked. */
  readonly isRefusalFinal?: boolean;
  /** Whether the body of the answer may be large. */
  readonly isBulk?: boolean;
  /** Whether the method is HEAD. */
  readonly isHead?: boolean;
  /** A form for POST. Redirects are not followed: 307 and 308 would send its secret to another URL (RFC 9110, 15.4.8). */
  readonly form?: Readonly<Record<string, string>>;
  /** The body of a PUT. */
  readonly upload?: Upload;
  /** Makes the error of a final answer, for a server whose error format is not that of a registry. */
  readonly refusal?: (response: HttpResponse) => Promise<Error>;
}

/** A body to send, read as its bytes come; opened again for each attempt. */
export interface Upload {
  readonly size: number;
  /** Each chunk is valid until the next. */
  readonly open: () => AsyncIterable<Uint8Array>;
}

export interface HttpResponse {
  /** The host that answered; after a redirect it is not the requested host. */
  readonly asked: Asked;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Further details of a refusal, for the log. */
  readonly note?: string;
  /** The caller must read or destroy the body. */
  readonly body: Body;
}

/** Chooses the authorization of the host of a URL, which may be the registry or the target of a redirect. */
export type AuthorizeHost = (url: URL) => HostAuthorization;

export interface HostAuthorization {
  /** The Authorization header for a request that has not been challenged. */
  readonly header: string | undefined;
  /** Whether the host may get the configured credential. Only then a refusal concerns the credential. */
  readonly isTrusted: boolean;
  /**
   * Resolves with the header that answers a 401 to a request with the header `used`. Rejects with UpstreamDeniedError if there
   * is no other header to send.
   */
  readonly answer?: (challenges: string, used: string | undefined, signal: AbortSignal) => Promise<string>;
  /**
   * For a registry that hides content from a request without authorization instead of sending a challenge. Resolves with
   * undefined if there is no header to send, and rejects as `answer` does.
   */
  readonly reveal?: (signal: AbortSignal) => Promise<RevealingHeader | undefined>;
  /** Whether the registry has hidden content before, so that the first request already has a header. */
  readonly isHiding?: boolean;
}

/** An Authorization header that is not known to work yet. */
export interface RevealingHeader {
  readonly header: string;
  /** Called when the registry accepts this header. */
  readonly confirm: () => void;
}

/** Makes the error of an answer that refuses, and ends the answer. */
export async function refusal({ asked, status, headers, note, body }: HttpResponse): Promise<PackageError> {
  const code = await readHint(body);
  // A proxy with a failure also answers with a page, but with another status.
  const isPage = code === undefined && status === 404 && mediaTypeOf(headers) === HTML;
  const hints = [code, isPage ? '(a page of HTML: is this a registry?)' : undefined, note];
  return statusError(asked, status, hints.filter((hint) => hint !== undefined).join(' '), retryAfterOf(headers));
}

/** The error for the status of an answer. */
function statusError(asked: Asked, status: number, hint: string, retryAfterSeconds: number | undefined): PackageError {
  const cause = new UpstreamFault(asked, `status ${String(status)} ${hint}`.trimEnd());
  if (status === 401 || status === 403) return new UpstreamDeniedError({ cause });
  if (status === 404 && asked.operation !== 'token') {
    return new PackageUnknownError(asked.operation === 'blob' ? 'BLOB_UNKNOWN' : 'MANIFEST_UNKNOWN', { cause });
  }
  if (status === 429 || (status === 503 && retryAfterSeconds !== undefined)) {
    return new UpstreamThrottledError(retryAfterSeconds ?? DEFAULT_RETRY_AFTER_SECONDS, { cause });
  }
  return unavailable(cause);
}

/** The message (status 400) of nginx and of Go servers when `scheme: HTTP` is used with their HTTPS port. */
const PLAIN_AT_TLS = /HTTP request (?:was sent )?to (?:an )?HTTPS (?:port|server)/;

/** A hint for the log: the first code of the error body (distribution-spec, error codes), or that the port uses TLS. */
async function readHint(body: Body): Promise<string | undefined> {
  try {
    const text = (await readAtMost(body, MAX_ERROR_BYTES, ERROR_BODY_MS)).toString();
    if (PLAIN_AT_TLS.test(text)) return '(the port speaks TLS)';
    const code = (JSON.parse(text) as { errors?: { code?: unknown }[] }).errors?.[0]?.code;
    return typeof code === 'string' && /^[A-Z_]{1,64}$/.test(code) ? code : undefined;
  } catch {
    return undefined;
  }
}

/** The seconds of Retry-After. */
export function retryAfterOf(headers: IncomingHttpHeaders): number | undefined {
  return parseRetryAfter(headers['retry-after'], sentAt(headers));
}

/** The `Date` of an answer, with which its other dates are compared, because the local clock may be wrong. */
export function sentAt({ date = '' }: IncomingHttpHeaders): Date {
  const ms = parseDate(date);
  return Number.isNaN(ms) ? new Date() : new Date(ms);
}

/** Seconds from `now` on, at most 60; undefined if the header is neither a number of seconds nor a date. */
export function parseRetryAfter(header: string | undefined, now: Date): number | undefined {
  if (header === undefined || header.length > 64) return undefined;
  const text = header.trim();
  const seconds = /^\d+$/.test(text) ? Number(text) : (parseDate(text) - now.getTime()) / 1000;
  if (Number.isNaN(seconds)) return undefined;
  return Math.min(Math.max(0, Math.ceil(seconds)), MAX_SECONDS);
}

/** Milliseconds, or NaN. Date.parse alone would accept `1.5` or `-5` as a time in 2001. */
function parseDate(text: string): number {
  if (!HTTP_DATES.some((form) => form.test(text))) return NaN;
  return Date.parse(text.endsWith('GMT') ? text : `${text} GMT`);
}
