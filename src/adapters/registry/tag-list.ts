/** The tags of a repository out of the pages of a registry's answer (distribution-spec, "Listing Tags"). */
import { isObject } from '../../domain/descriptor.ts';
import { PackageError } from '../../domain/errors.ts';
import { isTag } from '../../domain/tag.ts';
import { readAtMost } from './body.ts';
import type { HttpResponse } from './transport/http-message.ts';
import { failure, unavailable, UpstreamFault } from './upstream-errors.ts';

const MAX_PAGES = 100;
const MAX_TAGS = 100_000;
/** 100 000 tags of 128 characters. */
const MAX_PAGE_BYTES = 14 << 20;

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
