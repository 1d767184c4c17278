/** From an index to the manifests of its images, through the indexes within it (image-spec, image-index.md). */
import { InvalidContentError } from '../domain/errors.ts';
import type { Digest } from '../domain/descriptor.ts';
import { formatPlatform, type IndexEntry, type Platform, platformCandidates } from '../domain/index-entry.ts';
import type { Index, Manifest } from '../domain/manifest.ts';

/** Indexes in one another; two are met in practice. */
const MAX_DEPTH = 4;
/** Documents that are fetched to find one image. */
const MAX_DOCUMENTS = 16;
/** The most images of all platforms: as many as the entries of one index. */
const MAX_IMAGES = 1000;

type Find<Absent> = (digest: Digest) => Promise<Manifest | Index | Absent>;

/**
 * The manifest of the image for a platform; undefined when `find` has no document on the way to it. Rejects with
 * InvalidContentError when there is no such image, or as `find` does.
 */
export async function platformManifest<Absent extends undefined>(
  outer: Index,
  platform: Platform,
  find: Find<Absent>,
): Promise<Manifest | Absent> {
  let documents = 0;
  const search = async (index: Index, depth: number): Promise<Manifest | Absent | 'none'> => {
    for (const { digest } of platformCandidates(index.manifests, platform)) {
      if (++documents > MAX_DOCUMENTS) throw new InvalidContentError('index leads to too many indexes');
      const document = await find(digest);
      if (document === undefined || document.kind === 'manifest') return document;
      const found = await search(document, checkedDepth(depth + 1));
      if (found !== 'none') return found;
    }
    return 'none';
  };
  const found = await search(outer, 1);
  if (found === 'none') throw new InvalidContentError(`image has no ${formatPlatform(platform)} manifest`);
  return found;
}

/** The manifests of all images of an index, in its order. Rejects as `platformManifest` does. */
export async function allManifests(outer: Index, find: Find<never>): Promise<Manifest[]> {
  const seen = new Set<Digest>();
  const collect = async (entries: readonly IndexEntry[], depth: number): Promise<Manifest[]> => {
    const manifests: Manifest[] = [];
    for (const { digest } of entries) {
      if (seen.has(digest)) continue;
      seen.add(digest);
      if (seen.size > MAX_IMAGES)
        throw new InvalidContentError(`index leads to more than ${String(MAX_IMAGES)} manifests`);
      const document = await find(digest);
      if (document.kind === 'manifest') manifests.push(document);
      else manifests.push(...(await collect(document.manifests, checkedDepth(depth + 1))));
    }
    return manifests;
  };
  return collect(outer.manifests, 1);
}

function checkedDepth(depth: number): number {
  if (depth <= MAX_DEPTH) return depth;
  throw new InvalidContentError(`indexes are nested more than ${String(MAX_DEPTH)} deep`);
}
