/** Refuses requests that HTTP forbids, or that no client needs: the sidecar could read them differently from this service. */
import type { IncomingMessage } from 'node:http';
import type { Middleware } from 'koa';
import { RefusedError } from './problem.ts';
import type { RequestState } from './request-record.ts';

/** Over four times what a path of ours and the longest query take. */
const MAX_TARGET_BYTES = 8192;
/** RFC 9112 section 3.2, RFC 3986 section 3.2.2; the request line and the rest of each header are the parser's. */
const HOST = /^(?:[\w.~!$&'()*+,=%-]*|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?$/;

/** Refuses, and then closes the connection: what follows on it may be what we did not take for the request's end. */
export function strictRequests(): Middleware<RequestState> {
  return ({ req, res, method }, next) => {
    // Nothing reads it, so that what is left of it could not be told from a next request.
    const hasBody = 'transfer-encoding' in req.headers || (req.headers['content-length'] ?? '0') !== '0';
    const refusal = refusalOf(req) ?? (hasBody && isSafe(method) ? invalid('a request must have no body') : undefined);
    if (hasBody || refusal !== undefined) res.setHeader('Connection', 'close');
    if (refusal !== undefined) throw refusal;
    return next();
  };
}

export function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD';
}

function refusalOf({ httpVersion, rawHeaders, headers, url = '' }: IncomingMessage): RefusedError | undefined {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return invalid('HTTP version must be 1.0 or 1.1');
  if (url.length > MAX_TARGET_BYTES) return new RefusedError('TARGET_TOO_LONG', 'request target is too long');
  // RFC 9112 section 3.2.1; a fragment is for clients only, and Koa would cut it off where Go does not.
  if (!url.startsWith('/') || url.includes('#')) return invalid('request target must be a path');
  // Where there are several, `headers` has the first.
  const hosts = rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'host').length;
  const isHostless = httpVersion === '1.0' && hosts === 0;
  if (!isHostless && (hosts !== 1 || !HOST.test(headers.host ?? ''))) return invalid('Host must be one host');
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== '100-continue') {
    return new RefusedError('EXPECTATION_UNSUPPORTED', 'expectation is not supported');
  }
  return undefined;
}

function invalid(message: string): RefusedError {
  return new RefusedError('REQUEST_INVALID', message);
}
