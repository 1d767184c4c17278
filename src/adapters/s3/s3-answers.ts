/** Parses the answers of an S3 server: error codes, and size and checksum of an object (Amazon S3 API reference). */
import type { IncomingHttpHeaders } from 'node:http';
import { type Digest, digestHex } from '../../domain/descriptor.ts';
import {
  type PackageError,
  PackageUnknownError,
  UpstreamDeniedError,
  UpstreamThrottledError,
} from '../../domain/errors.ts';
import { readAtMost } from '../registry/body.ts';
import { type HttpResponse, retryAfterOf } from '../registry/transport/http-message.ts';
import { unavailable, UpstreamFault } from '../registry/upstream-errors.ts';

const MAX_ERROR_BYTES = 16 * 1024;
const ERROR_BODY_MS = 1000;
const DEFAULT_RETRY_AFTER_SECONDS = 5;
/** Codes of refusals with status 400, and one of versitygw with status 404. */
const DENIAL = /^(?:ExpiredToken|InvalidToken|TokenRefreshRequired|InvalidAccessKeyId|XAdminUserNotFound)$/;
/** Other codes of a 404 concern the bucket or the account. A response to HEAD has no code. */
const UNKNOWN: ReadonlySet<string | undefined> = new Set([undefined, 'NoSuchKey', 'NotFound']);

/** Requests the checksum that was sent with the object, or that the server has computed later. */
export const CHECKSUM_MODE = { 'x-amz-checksum-mode': 'ENABLED' };
export const CHECKSUM = 'x-amz-checksum-sha256';

/**
 * Returns the text of the first element with this name; undefined without one. The relevant texts have no reference except
 * `&amp;`.
 */
export function textOf(xml: string, name: string): string | undefined {
  const text = new RegExp(`<${name}>([^<>]{1,8192})</${name}>`).exec(xml)?.[1];
  return text?.replaceAll('&amp;', '&').trim();
}

/** Encodes a sha256 as S3 does. */
export function checksumOf(digest: Digest): string {
  return Buffer.from(digestHex(digest), 'hex').toString('base64');
}

/** Returns the digest of an object in the answer of the server; undefined if there is none. */
export function storedDigest(headers: IncomingHttpHeaders): Digest | undefined {
  const checksum = headers[CHECKSUM];
  // The checksum of a multipart object ends with the number of parts, and is not the checksum of its bytes.
  if (typeof checksum !== 'string' || !/^[A-Za-z0-9+/]{43}=$/.test(checksum)) return undefined;
  return `sha256:${Buffer.from(checksum, 'base64').toString('hex')}` as Digest;
}

/** Resolves with the error of a refusal, and its S3 code. Ends the answer. */
export async function refusalOf({
  asked,
  status,
  headers,
  body,
}: HttpResponse): Promise<{ readonly error: PackageError; readonly code: string | undefined }> {
  const xml = await readAtMost(body, MAX_ERROR_BYTES, ERROR_BODY_MS).catch(() => '');
  const text = textOf(xml.toString(), 'Code');
  const code = text !== undefined && /^\w{1,64}$/.test(text) ? text : undefined;
  const cause = new UpstreamFault(asked, `status ${String(status)}${code === undefined ? '' : ` ${code}`}`);
  const error = (): PackageError => {
    if (status === 401 || status === 403 || DENIAL.test(code ?? '')) return new UpstreamDeniedError({ cause });
    if (status === 404 && UNKNOWN.has(code)) {
      return new PackageUnknownError(asked.operation === 'manifest' ? 'MANIFEST_UNKNOWN' : 'BLOB_UNKNOWN', { cause });
    }
    if (status === 429 || status === 503) {
      return new UpstreamThrottledError(retryAfterOf(headers) ?? DEFAULT_RETRY_AFTER_SECONDS, { cause });
    }
    return unavailable(cause);
  };
  return { error: error(), code };
}
