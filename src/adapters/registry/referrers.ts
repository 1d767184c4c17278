/** The manifests that refer to another one (distribution-spec, "Listing Referrers" and "Referrers Tag Schema"). */
import { parseBoundedJson } from '../../domain/bounded-json.ts';
import { isObject } from '../../domain/descriptor.ts';
import { type Digest, digestHex, isDigest } from '../../domain/digest.ts';
import { isOneOf } from '../../domain/errors.ts';
import { MAX_MANIFEST_BYTES } from '../../domain/manifest.ts';
import type { Referrer } from '../../domain/ports/image-catalog.ts';
import type { Tag } from '../../domain/tag.ts';
import { discard, readAtMost } from './body.ts';
import { nextPage } from './documents.ts';
import { type HttpResponse, refusal } from './transport/http-message.ts';
import { failure } from './upstream-errors.ts';

const MAX_PAGES = 10;
const MAX_REFERRERS = 1000;
/** Statuses that say something about the client or the moment; the other 4xx come from registries without such a list. */
const TELLING: ReadonlySet<number> = new Set([401, 403, 408, 429]);

export interface ReferrersQuestion {
  /** Fetches a page of the list by its query, which is empty for the first one. */
  readonly list: (query: string) => Promise<HttpResponse>;
  readonly fetchTagged: (tag: Tag) => Promise<Uint8Array>;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Rejects as the two questions do. */
export async function readReferrers(subject: Digest, question: ReferrersQuestion): Promise<Referrer[]> {
  const listed = await readPages(question);
  if (listed !== undefined) return listed;
  try {
    const bytes = await question.fetchTagged(`sha256-${digestHex(subject)}` as Tag);
    return parseReferrers(bytes) ?? [];
  } catch (error) {
    if (isOneOf(error, 'MANIFEST_UNKNOWN')) return [];
    throw error;
  }
}

/** Undefined when the registry has no such list. */
async function readPages({ list, timeoutMs, signal }: ReferrersQuestion): Promise<Referrer[] | undefined> {
  const found: Referrer[] = [];
  let query = '';
  for (let page = 0; page < MAX_PAGES && found.length < MAX_REFERRERS; page++) {
    const response = await list(query);
    const { asked, status, headers, body } = response;
    if (status >= 400 && status < 500 && !TELLING.has(status)) {
      discard(body);
      return undefined;
    }
    if (status !== 200) throw await refusal(response);
    const bytes = await readAtMost(body, MAX_MANIFEST_BYTES, timeoutMs).catch((error: unknown) => {
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

/** Undefined when the bytes are no index, such as the page of a portal. */
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
  if (!isObject(json) || !('digest' in json) || typeof json.digest !== 'string' || !isDigest(json.digest)) return [];
  const artifactType = 'artifactType' in json && typeof json.artifactType === 'string' ? json.artifactType : undefined;
  return [{ digest: json.digest, artifactType }];
}
