/** The documents of a registry: a manifest, and the list of the tags of a repository. */
import { isObject } from '../../domain/descriptor.ts';
import { type Digest, digestOf } from '../../domain/digest.ts';
import { InvalidContentError, PackageError } from '../../domain/errors.ts';
import { MAX_MANIFEST_BYTES } from '../../domain/manifest.ts';
import { INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES } from '../../domain/media-types.ts';
import { isTag } from '../../domain/tag.ts';
import { gunzipAtMost, HTML, isLabelledGzip, isMarkup, mediaTypeOf, readAtMost } from './body.ts';
import type { HttpResponse } from './transport/http-message.ts';
import { codeOf, failure, unavailable, UpstreamFault } from './upstream-errors.ts';

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
const MAX_PAGES = 100;
const MAX_TAGS = 100_000;
/** 100 000 tags of 128 characters. */
const MAX_PAGE_BYTES = 14 << 20;

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
    throw codeOf(error) === 'ERR_BODY_TOO_LONG' ? new InvalidContentError('manifest is larger than 4 MiB') : error;
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

/** `ask` fetches a page by its query, which is empty for the first one. Rejects as `ask` does, or with an Upstream…Error. */
export async function readTags(
  ask: (query: string) => Promise<HttpResponse>,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<string[]> {
  const tags: string[] = [];
  let query = '';
  for (let page = 1; ; page++) {
    const response = await ask(query);
    const { asked, headers, body } = response;
    try {
      for (const tag of parseTags((await readAtMost(body, MAX_PAGE_BYTES, timeoutMs)).toString())) tags.push(tag);
    } catch (error) {
      if (error instanceof SyntaxError) throw unavailable(new UpstreamFault(asked, 'answer is no list of tags'));
      throw error instanceof PackageError ? error : failure(asked, error, signal);
    }
    const next = nextPage(headers['link']);
    if (next === undefined) return tags;
    if (page >= MAX_PAGES || tags.length >= MAX_TAGS || next === query) {
      throw unavailable(new UpstreamFault(asked, `more than ${String(page)} pages or ${String(tags.length)} tags`));
    }
    query = next;
  }
}

/** @throws SyntaxError */
function parseTags(text: string): string[] {
  const json: unknown = JSON.parse(text);
  const tags = isObject(json) && 'tags' in json ? (json.tags ?? []) : [];
  if (!isObject(json) || !Array.isArray(tags)) throw new SyntaxError('no tags');
  return tags.filter((tag): tag is string => typeof tag === 'string' && isTag(tag));
}

/**
 * The query of the link with rel=next (RFC 8288). Only the query is taken: behind a balancer registries name a host or a
 * scheme at which they cannot be reached, and no credential may follow them to another one.
 */
export function nextPage(link: string | string[] | undefined): string | undefined {
  const links = String(link ?? '').matchAll(/<([^>]*)>([^,<]*)/g);
  for (const [, target = '', parameters = ''] of links) {
    if (/;\s*rel\s*=\s*"?(?:[^";]*\s)?next(?:\s[^";]*)?"?\s*(?:;|$)/i.test(parameters)) {
      return URL.parse(target, 'https://registry.invalid/')?.search;
    }
  }
  return undefined;
}
