/** The headers of requests for packages, conditions and ranges, and those of the answers (RFC 9110). */
import type { CacheOutcome } from '../../../application/get-package.ts';
import { type Digest, digestHex } from '../../../domain/descriptor.ts';
import type { Package } from '../../../domain/reference.ts';

export function etagOf(digest: Digest): string {
  return `"${digest}"`;
}

/** The validators with which a client caches the package; a 304 has no other fields. */
export function validatorHeaders(digest: Digest): Record<string, string> {
  return {
    ETag: etagOf(digest),
    // "private": an answer to an authorized request is not for shared caches (RFC 9111 section 3.5).
    'Cache-Control': 'private, max-age=31536000, immutable',
    'Docker-Content-Digest': digest,
  };
}

/** A package that is asked for often is the same object each time. */
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

/** The digest of the whole body, also where ETag names another document (RFC 9530 section 3). */
export function reprDigest(digest: Digest): string {
  return `sha-256=:${Buffer.from(digestHex(digest), 'hex').toString('base64')}:`;
}

/** The headers of a part (RFC 9110 section 15.3.7.1). */
export function partHeaders({ start, end }: ByteRange, size: number): Record<string, string> {
  return {
    'Content-Length': String(end - start),
    'Content-Range': `bytes ${String(start)}-${String(end - 1)}/${String(size)}`,
  };
}

/**
 * RFC 9211. The head comes before the body, so `stored` can only say what the store does with it so far; after a failure of
 * the disk it is said only of what is stored. Undefined stands for HEAD, which forwards nothing, on a package that is not
 * cached.
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

/** Nothing for the registry itself. */
function detailOf(source: string | undefined): string {
  return source === undefined ? '' : `; detail=${source}`;
}

function cacheStatus(parameters: string): Record<string, string> {
  return { 'Cache-Status': `registry-packages-proxy; ${parameters}` };
}

/** Seconds; never negative, even when the clock was set back (RFC 9111 section 5.1). */
function ageOf(storedAt: Date): string {
  return String(Math.max(0, Math.floor((Date.now() - storedAt.getTime()) / 1000)));
}

/** The type that the existing implementation gives gzip layers, which packages are; the layer's own type for others. */
function contentType(mediaType: string): string {
  return /[.+]gzip$/.test(mediaType) ? 'application/x-gzip' : mediaType;
}

/** Conditions and ranges of requests: whether a client has the package already, and which bytes it wants (RFC 9110). */

/** The If-None-Match header: whether a client has the package already (RFC 9110 section 13.1.2). */

/** `any` is `*`: it matches each representation that exists. Entity tags are compared weakly, as the section asks for. */
export function matchesEtag(ifNoneMatch: string, etag: string): boolean | 'any' {
  const trimmed = ifNoneMatch.trim();
  if (trimmed === '*') return 'any';
  // No entity tag of ours holds a comma, so a split finds it wherever it stands in the list.
  return trimmed.split(',').some((candidate) => candidate.trim().replace(/^W\//, '') === etag);
}

/** The Range header: which bytes of a package a client wants (RFC 9110 section 14). */

/** From `start` up to, not including, `end`. */
interface ByteRange {
  readonly kind: 'part';
  readonly start: number;
  readonly end: number;
}

type RequestedRange =
  /** All of it: no range, one that we do not understand, or several, which a server may ignore (section 14.2). */
  | { readonly kind: 'whole' }
  | ByteRange
  /** No byte of it exists. */
  | { readonly kind: 'unsatisfiable' };

const WHOLE: RequestedRange = { kind: 'whole' };
const UNSATISFIABLE: RequestedRange = { kind: 'unsatisfiable' };

/**
 * Only for GET: no other method has ranges (section 14.2). `ifRange` is that header's value: only our own strong validator
 * lets the range stand (section 13.1.5); a range that stands and holds no byte is unsatisfiable with it as without.
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
  // The last bytes of nothing are all of it (section 14.1.2), which no Content-Range could say.
  return size === 0 ? WHOLE : { kind: 'part', start: Math.max(0, size - length), end: size };
}
