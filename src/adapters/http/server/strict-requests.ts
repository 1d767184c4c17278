/** Refuses requests that HTTP forbids, that no client needs, or that a browser sends to a foreign name of this service. */
import type { Middleware } from 'koa';
import type { IncomingMessage } from 'node:http';
import { RefusedError } from './problem.ts';
import type { RequestState } from './request-record.ts';

/** Over four times the size of a path of this service with the longest query. */
const MAX_TARGET_BYTES = 8192;
/** Ten times the longest Accept header of a client; one of 60 KiB takes 70 ms to parse. */
const MAX_ACCEPT_BYTES = 4096;
/** RFC 9112 section 3.2, RFC 3986 section 3.2.2; the parser checks the request line and the syntax of the other headers. */
const HOST = /^(?:[\w.~!$&'()*+,=%-]*|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?$/;

/** The scheme and the authority of a target that is a whole URL, without user information. */
const AUTHORITY = /^https?:\/\/([^/?#@]+)(?=[/?#]|$)/i;

/** Reads a whole URL as its path and its host, as a server must (RFC 9112, section 3.2.2). */
export function wholeUrls(): Middleware {
  return ({ req }, next) => {
    const [matched = '', host] = AUTHORITY.exec(req.url ?? '') ?? [];
    if (host !== undefined) {
      req.url = req.url?.slice(matched.length).replace(/^(?!\/)/, '/');
      req.headers.host = host;
    }
    return next();
  };
}

/** Refuses the request, and closes the connection: the bytes after it may belong to the request for another parser. */
export function strictRequests(): Middleware<RequestState> {
  return ({ req, res, method }, next) => {
    // Without it the client gets the default type.
    if ((req.headers.accept?.length ?? 0) > MAX_ACCEPT_BYTES) delete req.headers.accept;
    // No code reads a body, so the rest of it would look like a next request.
    const hasBody = 'transfer-encoding' in req.headers || (req.headers['content-length'] ?? '0') !== '0';
    const refusal = refusalOf(req) ?? (hasBody && isSafe(method) ? invalid('a request must have no body') : undefined);
    if (hasBody || refusal !== undefined) res.setHeader('Connection', 'close');
    if (refusal !== undefined) throw refusal;
    return next();
  };
}

/** @throws RefusedError for a method that is neither GET nor HEAD */
export function expectSafe(method: string, why = 'method not allowed'): void {
  if (!isSafe(method)) throw new RefusedError('METHOD_UNSUPPORTED', why, { Allow: 'GET, HEAD' });
}

function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD';
}

function refusalOf({ httpVersion, rawHeaders, headers, url = '' }: IncomingMessage): RefusedError | undefined {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return invalid('HTTP version must be 1.0 or 1.1');
  if (url.length > MAX_TARGET_BYTES) return new RefusedError('TARGET_TOO_LONG', 'request target is too long');
  // RFC 9112 section 3.2.1; a fragment is only for clients, and Koa would remove it where Go does not.
  if (!url.startsWith('/') || url.includes('#')) return invalid('request target must be a path');
  // `headers` has only the first, or the host of a whole URL.
  const hosts = rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'host');
  const isHostless = httpVersion === '1.0' && hosts.length === 0;
  const isValid = [...hosts, headers.host ?? ''].every((host) => HOST.test(host));
  if (!isValid || (!isHostless && hosts.length !== 1)) return invalid('request must have one valid Host header');
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== '100-continue') {
    return new RefusedError('EXPECTATION_UNSUPPORTED', 'expectation is not supported');
  }
  return undefined;
}

function invalid(message: string): RefusedError {
  return new RefusedError('REQUEST_INVALID', message);
}

/**
 * Matches an address, which the DNS cannot redirect, a name of this machine (RFC 6761 section 6.3), or the name of a
 * Service, under which clients reach the sidecar: `svc` is not a public domain, and `local` is not in the DNS (RFC 6762
 * section 3). An attacker that controls an operator's DNS can point a Service's name at his machine. So such a name is
 * allowed only with the ports of HTTPS and of the sidecar, whose certificate he lacks; other ports can be a `kubectl
 * port-forward`.
 */
const KNOWN =
  /^(?:(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\]|(?:[a-z0-9-]+\.)*localhost)(?::\d*)?|(?:[a-z0-9-]+\.){2}svc(?:\.cluster\.local)?(?::(?:443|4219))?)$/i;

/** Browsers always send the host of the URL; with `kubectl port-forward` it is localhost. */
export function allowedHosts(): Middleware {
  return async (ctx, next) => {
    const { host } = ctx.req.headers;
    if (host !== undefined && !KNOWN.test(host)) {
      throw new RefusedError(
        'REQUEST_INVALID',
        'this page is served only at localhost, an IP address or a Service (….svc, at 443 or 4219)',
      );
    }
    await next();
  };
}

/**
 * Returns the segments of a path, decoded once. Tolerates one slash at the end. Returns undefined for a bad escape, an empty segment, or a segment that decoding turns
 * into another path.
 */
export function pathSegments(path: string): readonly string[] | undefined {
  try {
    const segments = path.replace(/\/$/, '').split('/').map(decodeURIComponent);
    return segments.every((segment) => !/^\.{0,2}$|[/\0]/.test(segment)) ? segments : undefined;
  } catch {
    return undefined;
  }
}
