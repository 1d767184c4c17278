/** Reads the documents of a registry: manifests, the tags of a repository, and the referrers of a manifest. */
import { parseBoundedJson } from '../../domain/bounded-json.ts';
import {
  asObject,
  type Digest,
  digestHex,
  digestOf,
  INDEX_MEDIA_TYPES,
  isDigest,
  isObject,
  MANIFEST_MEDIA_TYPES,
} from '../../domain/descriptor.ts';
import { InvalidContentError, isOneOf, PackageError } from '../../domain/errors.ts';
import { MAX_MANIFEST_BYTES } from '../../domain/manifest.ts';
import type { Referrer } from '../../domain/ports/registry-gateway.ts';
import { isTag, type Tag } from '../../domain/reference.ts';
import { discard, gunzipAtMost, HTML, isLabelledGzip, isMarkup, mediaTypeOf, readAtMost } from './body.ts';
import { type HttpResponse, refusal } from './transport/http-message.ts';
import { codeOf, failure, unavailable, UpstreamFault } from './upstream-errors.ts';

/** The types of manifests, and those that static servers use for any file. */
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
/** A manifest has one of them at least, whichever tool has made it. */
const MANIFEST_FIELDS = ['schemaVersion', 'mediaType', 'config', 'layers', 'manifests'];
/** Error documents are small; a large answer is not parsed only to be named. */
const MAX_NAMED_BYTES = 64 << 10;
const MAX_TAG_PAGES = 100;
const MAX_TAGS = 100_000;
/** Enough for 100 000 tags of 128 characters. */
const MAX_PAGE_BYTES = 14 << 20;
/** Some registries add about eight values for each manifest to the list of tags. */
const MAX_PAGE_VALUES = 500_000;
const MAX_REFERRER_PAGES = 10;
const MAX_REFERRERS = 1000;
const PREDICATE_TYPE = 'dev.sigstore.bundle.predicateType';
/** Statuses that depend on the client or the time. Another 4xx means that the registry has no such list. */
const TELLING: ReadonlySet<number> = new Set([401, 403, 408, 429]);

/**
 * Reads the bytes of a manifest, decoded if necessary. If their digest is wrong, it returns them unchanged and the caller
 * refuses them. Rejects with UpstreamUnavailableError if they cannot be a manifest, with InvalidContentError if they exceed
 * 4 MiB, or as the body does.
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

/** The kind of bytes that cannot be a manifest, not even a forged or damaged one; undefined for all others. */
function otherThanManifest(bytes: Uint8Array, type: string | undefined): string | undefined {
  const isPlausible = PLAUSIBLE_MEDIA_TYPES.has(type);
  if (isMarkup(bytes)) return isPlausible ? HTML : type;
  if (isSchema1(bytes)) return SCHEMA_1;
  if (!isPlausible) return type;
  if (bytes.byteLength === 0) return 'empty';
  if (!isOtherJson(bytes)) return undefined;
  return type === undefined ? 'other JSON' : `other JSON (${type})`;
}

/** Such as the error of a proxy or of a login, sent with status 200. */
function isOtherJson(bytes: Uint8Array): boolean {
  if (bytes.byteLength > MAX_NAMED_BYTES) return false;
  try {
    const json = parseBoundedJson(bytes);
    return isObject(json) && !MANIFEST_FIELDS.some((field) => field in json);
  } catch {
    return false;
  }
}

/** Docker's manifest format of before 2016, which has no digests that a client can verify. */
function isSchema1(bytes: Uint8Array): boolean {
  const text = Buffer.from(bytes).toString('latin1');
  return text.includes('"fsLayers"') && /"schemaVersion"\s*:\s*1\b/.test(text);
}

/** `ask` fetches the page with a query, which is empty for the first page. Rejects as `ask` does, or with an Upstream…Error. */
export async function readTags(
  ask: (query: string) => Promise<HttpResponse>,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<string[]> {
  const tags: string[] = [];
  let query = '';
  for (let page = 1; ; page++) {
    const response = await ask(query);
    const { asked, headers } = response;
    try {
      for (const tag of parseTags(await readPage(response, MAX_PAGE_BYTES, timeoutMs))) tags.push(tag);
    } catch (error) {
      if (error instanceof SyntaxError) throw unavailable(new UpstreamFault(asked, 'answer is not a list of tags'));
      throw error instanceof PackageError ? error : failure(asked, error, signal);
    }
    const next = nextPage(headers['link']);
    if (next === undefined) return tags;
    if (page >= MAX_TAG_PAGES || tags.length >= MAX_TAGS || next === query) {
      throw unavailable(new UpstreamFault(asked, `more than ${String(page)} pages or ${String(tags.length)} tags`));
    }
    query = next;
  }
}

/** Reads a page of a list; decodes it if it is labelled as gzip, although the request does not accept gzip. */
async function readPage({ headers, body }: HttpResponse, maxBytes: number, timeoutMs: number): Promise<Uint8Array> {
  const bytes = await readAtMost(body, maxBytes, timeoutMs);
  return (isLabelledGzip(headers) ? await gunzipAtMost(bytes, maxBytes) : undefined) ?? bytes;
}

/** @throws SyntaxError */
function parseTags(bytes: Uint8Array): string[] {
  const json = parsePage(bytes);
  const tags = isObject(json) && 'tags' in json ? (json.tags ?? []) : [];
  if (!isObject(json) || !Array.isArray(tags)) throw new SyntaxError('no tags');
  return tags.filter((tag): tag is string => typeof tag === 'string' && isTag(tag));
}

/** @throws SyntaxError */
function parsePage(bytes: Uint8Array): unknown {
  try {
    return parseBoundedJson(bytes, MAX_PAGE_VALUES);
  } catch (cause) {
    throw new SyntaxError('not JSON, or too large', { cause });
  }
}

/**
 * The query of the link with rel=next (RFC 8288), or without a relation, as crane and skopeo read it; Quay has left out the
 * brackets. The rest of the link is ignored: behind a load balancer registries send a host or a scheme that cannot be reached,
 * and no credential may go to another host.
 */
function nextPage(header: string | string[] | undefined): string | undefined {
  const text = String(header ?? '');
  const links = text.matchAll(text.includes('<') ? /<([^<>]*)>((?:[^,<"]|"[^"]*")*)/g : /([^\s;]+)(.*)/g);
  for (const [, target = '', parameters = ''] of links) {
    if (isNext(target, parameters)) return URL.parse(target, 'https://registry.invalid/')?.search;
  }
  return undefined;
}

function isNext(target: string, parameters: string): boolean {
  const [, , relations] = /;\s*rel\s*=\s*(["']?)([^;"']*)\1/i.exec(parameters) ?? [];
  if (relations === undefined) return target.includes('?');
  return relations.toLowerCase().split(/\s+/).includes('next');
}

/** The list of referrers (distribution-spec, "Listing Referrers" and "Referrers Tag Schema"). */
interface ReferrersQuestion {
  /** Fetches the page of the list with a query; the query of the first page is empty. */
  readonly list: (query: string) => Promise<HttpResponse>;
  readonly fetchTagged: (tag: Tag) => Promise<Uint8Array>;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Rejects as the two requests do. */
export async function readReferrers(subject: Digest, question: ReferrersQuestion): Promise<Referrer[]> {
  const listed = (await readPages(question)) ?? [];
  // Some registries without this list answer with an empty one.
  if (listed.length > 0) return listed;
  try {
    const bytes = await question.fetchTagged(`sha256-${digestHex(subject)}` as Tag);
    return parseReferrers(bytes) ?? [];
  } catch (error) {
    if (isOneOf(error, 'MANIFEST_UNKNOWN')) return [];
    throw error;
  }
}

/** Undefined if the registry has no such list. */
async function readPages({ list, timeoutMs, signal }: ReferrersQuestion): Promise<Referrer[] | undefined> {
  const found: Referrer[] = [];
  let query = '';
  for (let page = 0; page < MAX_REFERRER_PAGES && found.length < MAX_REFERRERS; page++) {
    const response = await list(query);
    const { asked, status, headers, body } = response;
    if (status >= 400 && status < 500 && !TELLING.has(status)) {
      discard(body);
      return undefined;
    }
    if (status !== 200) throw await refusal(response);
    const bytes = await readPage(response, MAX_MANIFEST_BYTES, timeoutMs).catch((error: unknown) => {
      throw failure(asked, error, signal);
    });
    const referrers = parseReferrers(bytes);
    if (referrers === undefined) return undefined;
    found.push(...referrers);
    const next = nextPage(headers['link']);
    if (next === undefined || next === query) break;
    query = next;
  }
  return found.slice(0, MAX_REFERRERS);
}

/** Undefined if the bytes are not an index, for example the page of a portal. */
function parseReferrers(bytes: Uint8Array): Referrer[] | undefined {
  let json: unknown;
  try {
    json = parseBoundedJson(bytes);
  } catch {
    return undefined;
  }
  if (!isObject(json) || !('manifests' in json)) return undefined;
  const manifests = json.manifests ?? [];
  return Array.isArray(manifests) ? manifests.flatMap(parseReferrer) : undefined;
}

function parseReferrer(json: unknown): Referrer[] {
  if (!isObject(json)) return [];
  const { digest, artifactType, annotations } = asObject(json, 'referrer');
  if (typeof digest !== 'string' || !isDigest(digest)) return [];
  const predicateType = isObject(annotations) ? asObject(annotations, 'annotations')[PREDICATE_TYPE] : undefined;
  return [{ digest, artifactType: textOf(artifactType), predicateType: textOf(predicateType) }];
}

function textOf(json: unknown): string | undefined {
  return typeof json === 'string' ? json : undefined;
}
