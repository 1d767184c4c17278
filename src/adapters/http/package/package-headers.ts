/** The headers of requests for packages, such as conditions and ranges, and of their responses (RFC 9110). */
import type { CacheOutcome } from '../../../application/get-package.ts';
import { type Digest, digestHex } from '../../../domain/descriptor.ts';
import type { Package } from '../../../domain/reference.ts';

export function etagOf(digest: Digest): string {
  return `"${digest}"`;
}

/** The validators by which a client caches the package; a 304 has no other fields. */
export function validatorHeaders(digest: Digest): Record<string, string> {
  return {
    ETag: etagOf(digest),
    // "private": shared caches must not store a response to an authorized request (RFC 9111 section 3.5).
    'Cache-Control': 'private, max-age=31536000, immutable',
    'Docker-Content-Digest': digest,
  };
}

/** The headers of known packages: a package that is requested often is the same object each time. */
const known = new WeakMap<Package, Record<string, string>>();

export function packageHeaders(found: Package): Record<string, string> {
  let headers = known.get(found);
  if (headers === undefined) known.set(found, (headers = describe(found)));
  return headers;
}

function describe({ digest, layer }: Package): Record<string, string> {
  return {
    ...validatorHeaders(digest),
    'Content-Type': contentType(layer.mediaType),
    'Content-Length': String(layer.size),
    'Accept-Ranges': 'bytes',
    'Content-Disposition': `attachment; filename="sha256-${digestHex(digest)}.tar.gz"`,
    'Repr-Digest': reprDigest(layer.digest),
    'X-Content-Type-Options': 'nosniff',
  };
}

/** The digest of the whole body, also if ETag identifies another document (RFC 9530 section 3). */
export function reprDigest(digest: Digest): string {
  return `sha-256=:${Buffer.from(digestHex(digest), 'hex').toString('base64')}:`;
}

/** The headers of a partial response (RFC 9110 section 15.3.7.1). */
export function partHeaders({ start, end }: ByteRange, size: number): Record<string, string> {
  return {
    'Content-Length': String(end - start),
    'Content-Range': `bytes ${String(start)}-${String(end - 1)}/${String(size)}`,
  };
}

/**
 * Cache-Status (RFC 9211). The head precedes the body, so `stored` states only the present state of the store; after a
 * failure of the disk only stored packages have it. Undefined stands for a HEAD of a package that is not cached, which
 * forwards nothing.
 */
export function cacheHeaders(cache: CacheOutcome | undefined): Record<string, string> {
  switch (cache?.kind) {
    case 'hit':
      return { ...cacheStatus('hit'), Age: ageOf(cache.storedAt) };
    case 'miss':
      return cacheStatus(`fwd=miss${cache.isStored() ? '; stored' : ''}${detailOf(cache.source())}`);
    case 'joined':
      return cacheStatus('fwd=miss; collapsed');
    case 'bypass':
      return cacheStatus(`fwd=bypass; detail=${cache.reason}`);
    case undefined:
      return cacheStatus('fwd=miss');
  }
}

/** Returns no detail for the registry itself. */
function detailOf(source: string | undefined): string {
  return source === undefined ? '' : `; detail=${source}`;
}

function cacheStatus(parameters: string): Record<string, string> {
  return { 'Cache-Status': `registry-packages-proxy; ${parameters}` };
}

/** The age in seconds; never negative, even if the clock was set back (RFC 9111 section 5.1). */
function ageOf(storedAt: Date): string {
  return String(Math.max(0, Math.floor((Date.now() - storedAt.getTime()) / 1000)));
}

/** The type that the existing implementation gives gzip layers, and so packages; other layers keep their type. */
function contentType(mediaType: string): string {
  return /[.+]gzip$/.test(mediaType) ? 'application/x-gzip' : mediaType;
}

/**
 * Whether If-None-Match names the package, so that the client has it already (RFC 9110 section 13.1.2). Returns `any` for `*`,
 * which matches each existing representation. Entity tags are compared weakly, as the section requires.
 */
export function matchesEtag(ifNoneMatch: string, etag: string): boolean | 'any' {
  const trimmed = ifNoneMatch.trim();
  if (trimmed === '*') return 'any';
  // The entity tags of this service have no comma, so a split finds them at any place in the list.
  return trimmed.split(',').some((candidate) => candidate.trim().replace(/^W\//, '') === etag);
}

/** The bytes from `start` up to, not including, `end`. */
interface ByteRange {
  readonly kind: 'part';
  readonly start: number;
  readonly end: number;
}

type RequestedRange =
  /** The whole body: there is no range, an unknown one, or several, which a server may ignore (section 14.2). */
  | { readonly kind: 'whole' }
  | ByteRange
  /** No byte of the range exists. */
  | { readonly kind: 'unsatisfiable' };

const WHOLE: RequestedRange = { kind: 'whole' };
const UNSATISFIABLE: RequestedRange = { kind: 'unsatisfiable' };

/**
 * Parses the Range header. Must be called for GET only: other methods have no ranges (RFC 9110 section 14.2). `ifRange` is the
 * value of If-Range: the range applies only with the strong validator of this service (section 13.1.5). A range that applies
 * and has no byte is unsatisfiable, with or without If-Range.
 */
export function parseRange(range: string, ifRange: string, etag: string, size: number): RequestedRange {
  if (ifRange !== '' && ifRange !== etag) return WHOLE;
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(range);
  if (match === null) return WHOLE;
  const [, first = '', last = ''] = match;
  if (first === '') return last === '' ? WHOLE : suffix(Number(last), size);
  if (last !== '' && Number(last) < Number(first)) return WHOLE;
  if (Number(first) >= size) return UNSATISFIABLE;
  return { kind: 'part', start: Number(first), end: last === '' ? size : Math.min(Number(last) + 1, size) };
}

function suffix(length: number, size: number): RequestedRange {
  if (length === 0) return UNSATISFIABLE;
  // The last bytes of an empty body are the whole body (section 14.1.2), and no Content-Range can express that.
  return size === 0 ? WHOLE : { kind: 'part', start: Math.max(0, size - length), end: size };
}
