/** Where a redirect leads, and where none may lead. */
import type { HttpResponse } from './http-message.ts';
import { unavailable, UpstreamFault } from '../upstream-errors.ts';

/** 300 with a Location names the choice of the server (RFC 9110, 15.4.1). */
const REDIRECTS: ReadonlySet<number> = new Set([300, 301, 302, 303, 307, 308]);
/** Signatures of S3, GCS, CloudFront and Azure. */
const SIGNATURE = /[?&](?:x-amz-signature|x-goog-signature|signature|sig)=/i;

/** The next URL; undefined for an answer that leads nowhere. @throws UpstreamUnavailableError */
export function redirectOf({ asked, status, headers: { location } }: HttpResponse, from: URL): URL | undefined {
  if (!REDIRECTS.has(status) || location === undefined) return undefined;
  // Node reads headers as Latin-1, and servers write paths in UTF-8.
  const to = URL.parse(Buffer.from(location, 'latin1').toString(), from.href);
  if (to === null || (to.protocol !== 'https:' && to.protocol !== 'http:')) {
    throw unavailable(new UpstreamFault(asked, 'redirect to no http or https URL (ERR_INVALID_REDIRECT)'));
  }
  if (from.protocol === 'https:' && to.protocol !== 'https:') {
    throw unavailable(new UpstreamFault(asked, 'redirect from https to http (ERR_INSECURE_REDIRECT)'));
  }
  return to;
}

/** Whether `to` may see what `from` was shown: the same origin, or the same host by the safer scheme. */
export function isSameOrSafer(from: URL, to: URL): boolean {
  const isSafer = from.protocol === 'http:' && to.protocol === 'https:' && to.hostname === from.hostname;
  return isSafer || to.origin === from.origin;
}

/** A URL with a signature of its own: storages refuse a second proof beside it. */
export function isSigned({ search }: URL): boolean {
  return SIGNATURE.test(search);
}
