/** The bytes of a manifest out of an answer, and what the answer is when it is something else. */
import { type Digest, digestOf } from '../../domain/digest.ts';
import { InvalidContentError } from '../../domain/errors.ts';
import { MAX_MANIFEST_BYTES } from '../../domain/manifest.ts';
import { INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES } from '../../domain/media-types.ts';
import { readAtMost, TooLongError } from './body.ts';
import { gunzipAtMost, isLabelledGzip } from './content-encoding.ts';
import type { HttpResponse } from './transport/http-message.ts';
import { HTML, isMarkup, mediaTypeOf } from './media-type.ts';
import { unavailable, UpstreamFault } from './upstream-errors.ts';

/** Besides the types of manifests, those that static servers have for any file. */
const PLAUSIBLE_MEDIA_TYPES: ReadonlySet<string | undefined> = new Set([
  undefined,
  'application/json',
  'application/octet-stream',
  'binary/octet-stream',
  'text/plain',
  ...MANIFEST_MEDIA_TYPES,
  ...INDEX_MEDIA_TYPES,
]);
const SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+json';

/**
 * The bytes whose digest was asked for, or which the registry names with a tag, decoded when that is what it takes; other bytes as they are, for the caller to
 * refuse. Rejects with UpstreamUnavailableError when they are no manifest of any kind, InvalidContentError when they are
 * more than 4 MiB, or as the body does.
 */
export async function readManifest(
  digest: Digest | undefined,
  { asked, headers, body }: HttpResponse,
  timeoutMs: number,
): Promise<Uint8Array> {
  const bytes = await readAtMost(body, MAX_MANIFEST_BYTES, timeoutMs).catch((error: unknown) => {
    throw error instanceof TooLongError ? new InvalidContentError('manifest is larger than 4 MiB') : error;
  });
  if (digestOf(bytes) === digest) return bytes;
  const decoded = isLabelledGzip(headers) ? await gunzipAtMost(bytes, MAX_MANIFEST_BYTES) : undefined;
  if (decoded !== undefined && (digest === undefined || digestOf(decoded) === digest)) return decoded;
  const other = otherThanManifest(decoded ?? bytes, mediaTypeOf(headers));
  if (other !== undefined) throw unavailable(new UpstreamFault(asked, `answer is ${other}, not a manifest`));
  return bytes;
}

/** Names bytes that cannot be a manifest, not even a forged or damaged one; undefined for all others. */
function otherThanManifest(bytes: Uint8Array, type: string | undefined): string | undefined {
  if (isMarkup(bytes)) return PLAUSIBLE_MEDIA_TYPES.has(type) ? HTML : type;
  if (isSchema1(bytes)) return SCHEMA_1;
  return PLAUSIBLE_MEDIA_TYPES.has(type) ? undefined : type;
}

/** Docker's manifest of before 2016, which has no digests that a client could verify. */
function isSchema1(bytes: Uint8Array): boolean {
  const text = Buffer.from(bytes).toString('latin1');
  return text.includes('"fsLayers"') && /"schemaVersion"\s*:\s*1\b/.test(text);
}
