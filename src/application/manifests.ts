/** Finds the registry and the manifest of a request, for all use cases. */
import { type Digest, digestOf } from '../domain/descriptor.ts';
import {
  DigestMismatchError,
  InvalidContentError,
  PlatformMissingError,
  RepositoryUnknownError,
} from '../domain/errors.ts';
import { formatPlatform, type IndexEntry, type Platform, platformCandidates } from '../domain/index-entry.ts';
import { type Index, type Manifest, manifestSteps, parseManifest } from '../domain/manifest.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import type { RegistryGateway } from '../domain/ports/registry-gateway.ts';
import type { PackageRequest } from '../domain/reference.ts';
import { below, parentOf, type Upstream } from '../domain/upstream.ts';
import { KeyedMutex } from './concurrency/keyed-mutex.ts';

export interface VerifiedManifest {
  readonly document: Manifest | Index;
  /** The verified bytes. */
  readonly bytes: Uint8Array;
}

/** The highest number of nested indexes; in practice there are at most two. */
const MAX_DEPTH = 4;
/** The highest number of documents that are fetched to find one image. */
const MAX_DOCUMENTS = 16;
/** The most images of all platforms: as many as the entries of one index. */
const MAX_IMAGES = 1000;
/** Larger manifests are parsed in several turns; a manifest of this size takes about 2 ms. */
const LARGE_BYTES = 64 * 1024;

/**
 * Large manifests are read, hashed and parsed one after the other, each in several turns of the event loop, so that new
 * connections and probes are accepted in between. A process has one event loop, so all use cases share this mutex.
 */
const turns = new KeyedMutex<'work'>();

/** The upstream of a request by the current configuration. Rejects as `CredentialProvider.resolve` does. */
export async function upstreamOf(
  { repository, path, isBeside = false }: Pick<PackageRequest, 'repository' | 'path' | 'isBeside'>,
  credentials: CredentialProvider,
): Promise<Upstream> {
  const configured = await credentials.resolve(repository);
  const root = isBeside ? parentOf(configured) : configured;
  if (root === undefined) throw new RepositoryUnknownError();
  return below(root, path);
}

/** Fetches a manifest. Rejects as the gateway does, with DigestMismatchError, or with InvalidContentError. */
export async function fetchManifest(
  gateway: Pick<RegistryGateway, 'fetchManifest'>,
  upstream: Upstream,
  digest: Digest,
  signal: AbortSignal,
): Promise<VerifiedManifest> {
  const bytes = await gateway.fetchManifest(upstream, digest, signal);
  const found = await digestInTurn(bytes);
  if (found !== digest) throw new DigestMismatchError(digest, found);
  return parseVerified(bytes);
}

/** Reads a large manifest only in its turn; otherwise hundreds of them would wait in memory. */
export async function readManifest(size: number, read: () => Promise<Uint8Array>): Promise<VerifiedManifest> {
  if (size > LARGE_BYTES) return turns.runExclusive('work', async () => parseInTurns(await read()));
  const bytes = await read();
  return { document: parseManifest(bytes), bytes };
}

/** Parses the manifest of a tag, which has no digest to verify. */
export function parseVerified(bytes: Uint8Array): Promise<VerifiedManifest> {
  return readManifest(bytes.byteLength, () => Promise.resolve(bytes));
}

/** Resolves in a separate turn of the event loop, after the waiting work on large manifests. */
export function ownTurn(): Promise<void> {
  return turns.runExclusive('work', nextTurn);
}

/** The digest of 4 MiB takes 10 ms. */
async function digestInTurn(bytes: Uint8Array): Promise<Digest> {
  if (bytes.byteLength <= LARGE_BYTES) return digestOf(bytes);
  return turns.runExclusive('work', async () => {
    await nextTurn();
    return digestOf(bytes);
  });
}

async function parseInTurns(bytes: Uint8Array): Promise<VerifiedManifest> {
  const steps = manifestSteps(bytes);
  for (;;) {
    await nextTurn();
    const step = steps.next();
    if (step.done === true) return { document: step.value, bytes };
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

type Find<Absent> = (digest: Digest) => Promise<Manifest | Index | Absent>;

/**
 * The manifest of the image for a platform, also in nested indexes (image-spec, image-index.md); undefined if `find` does not
 * have one of the documents. Rejects with PlatformMissingError if there is no such image, with InvalidContentError if there are
 * too many nested indexes, or as `find` does.
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
  if (found === 'none') throw new PlatformMissingError(`image has no ${formatPlatform(platform)} manifest`);
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
