/** A request to a registry, its answer, the authorization of each host between them, and the error of an answer that refuses. */
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
/** An error's code is for the log only, and a client waits for the error. */
const ERROR_BODY_MS = 1000;

/** For an upstream that throttles and does not say for how long. */
const DEFAULT_RETRY_AFTER_SECONDS = 5;
/** A longer `Retry-After` is cut to this: nodes that wait for a package would rather try another replica. */
const MAX_SECONDS = 60;

/** The three forms of an HTTP date, of which the last does not say that it is GMT (section 5.6.7). */
const HTTP_DATES = [
  /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/,
  /^\w{6,9}, \d\d-\w{3}-\d\d \d\d:\d\d:\d\d GMT$/,
  /^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$/,
];

export interface HttpRequest {
  readonly asked: Asked;
  readonly url: URL;
  /** All hosts on the way get them, so none of them is a secret. */
  readonly headers: Readonly<Record<string, string>>;
  /** Without it no host is shown anything. */
  readonly authorize?: AuthorizeHost;
  /** For so long it is repeated, instead of the settings' time. */
  readonly patienceMs?: number;
  /** Whether a refused connection ends it, as where another server can be asked. */
  readonly isRefusalFinal?: boolean;
  /** Its body may be large. */
  readonly isBulk?: boolean;
  /** Whether the answer is asked for without its body. */
  readonly isHead?: boolean;
  /** Sent by POST to this URL only: a form holds a secret, and 307 and 308 would take it along (RFC 9110, 15.4.8). */
  readonly form?: Readonly<Record<string, string>>;
  /** Sent by PUT. */
  readonly upload?: Upload;
  /** The error of an answer that is not worth another try, for a server that speaks of errors otherwise than a registry. */
  readonly refusal?: (response: HttpResponse) => Promise<Error>;
}

/** A body that is sent, as bytes come; opened anew for another try. */
export interface Upload {
  readonly size: number;
  /** Each chunk is valid until the next. */
  readonly open: () => AsyncIterable<Uint8Array>;
}

export interface HttpResponse {
  /** The host that answered, which is another one behind a redirect. */
  readonly asked: Asked;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** What a refusal says besides its status, for the log. */
  readonly note?: string;
  /** The caller reads or destroys it. */
  readonly body: Body;
}

/** Chooses the authorization of the host of a URL, which may be the registry or the target of a redirect. */
export type AuthorizeHost = (url: URL) => HostAuthorization;

export interface HostAuthorization {
  /** The Authorization header for a request that has not been challenged. */
  readonly header: string | undefined;
  /** Whether the host may see the configured credential. Only then a refusal is one of the credential. */
  readonly isTrusted: boolean;
  /**
   * Resolves with the header that answers a 401 to a request that showed `used`. Rejects with UpstreamDeniedError when
   * there is nothing better to show.
   */
  readonly answer?: (challenges: string, used: string | undefined, signal: AbortSignal) => Promise<string>;
  /**
   * For a registry that hides content from a request without authorization, instead of challenging. Resolves with
   * undefined when there is nothing to show, and rejects as `answer` does.
   */
  readonly reveal?: (signal: AbortSignal) => Promise<RevealingHeader | undefined>;
  /** Whether the registry has hidden content before, so that it is shown a header at once. */
  readonly isHiding?: boolean;
}

/** An Authorization header that is on trial. */
export interface RevealingHeader {
  readonly header: string;
  /** Called when the registry shows content to this header. */
  readonly confirm: () => void;
}

/** Ends the answer. */
export async function refusal({ asked, status, headers, note, body }: HttpResponse): Promise<PackageError> {
  const code = await readHint(body);
  // A front that has trouble answers by a page, too, but not by this status.
  const isPage = code === undefined && status === 404 && mediaTypeOf(headers) === HTML;
  const hints = [code, isPage ? '(a page of HTML: is this a registry?)' : undefined, note];
  return statusError(asked, status, hints.filter((hint) => hint !== undefined).join(' '), retryAfterOf(headers));
}

/** For an answer that is not what was asked for. */
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

/** nginx and servers in Go say this with status 400 when `scheme: HTTP` leads to their port for HTTPS. */
const PLAIN_AT_TLS = /HTTP request (?:was sent )?to (?:an )?HTTPS (?:port|server)/;

/** For the log: the first code of OCI's error body (distribution-spec, error codes), or that the port speaks TLS. */
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
