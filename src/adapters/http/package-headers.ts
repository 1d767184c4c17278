/** The headers of a package: the same for hit and miss, GET and HEAD (RFC 9110 section 9.3.2). */
import type { CacheOutcome } from '../../application/get-package.ts';
import { digestHex } from '../../domain/digest.ts';
import type { Package } from '../../domain/package.ts';

export function packageHeaders({ digest, layer }: Package): Record<string, string> {
  return {
    'Content-Type': contentType(layer.mediaType),
    'Content-Length': String(layer.size),
    ETag: `"${digest}"`,
    // "private": an answer to an authorized request is not for shared caches (RFC 9111 section 3.5).
    'Cache-Control': 'private, max-age=31536000, immutable',
    'Accept-Ranges': 'none',
    'Content-Disposition': `attachment; filename="sha256-${digestHex(digest)}.tar.gz"`,
    'Docker-Content-Digest': digest,
    // Of the body, where the other two name the manifest (RFC 9530 section 3).
    'Repr-Digest': `sha-256=:${Buffer.from(digestHex(layer.digest), 'hex').toString('base64')}:`,
    'X-Content-Type-Options': 'nosniff',
  };
}

/** RFC 9211. Undefined stands for HEAD, which forwards nothing, on a package that is not here. */
export function cacheHeaders(cache: CacheOutcome | undefined): Record<string, string> {
  const status = (parameters: string): Record<string, string> => ({
    'Cache-Status': `registry-packages-proxy; ${parameters}`,
  });
  switch (cache?.kind) {
    case 'hit':
      return { ...status('hit'), Age: String(Math.max(0, Math.floor((Date.now() - cache.storedAt.getTime()) / 1000))) };
    case 'miss':
      return status('fwd=miss; stored');
    case 'joined':
      return status('fwd=miss; collapsed');
    case 'bypass':
      return status(`fwd=bypass; detail=${cache.reason.toLowerCase().replace('_', '-')}`);
    case undefined:
      return status('fwd=miss');
  }
}

/** What clients of the existing implementation see for the gzip layers that packages are; the truth for others. */
function contentType(mediaType: string): string {
  return /[.+]gzip$/.test(mediaType) ? 'application/x-gzip' : mediaType;
}
