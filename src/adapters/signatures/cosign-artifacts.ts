/** Finds the claims that cosign stores beside an image: under a tag of its digest, and among its referrers. */
import { parseBoundedJson } from '../../domain/bounded-json.ts';
import {
  asObject,
  type Descriptor,
  type Digest,
  digestHex,
  digestOf,
  parseDescriptor,
} from '../../domain/descriptor.ts';
import { DigestMismatchError, isOneOf } from '../../domain/errors.ts';
import type { ImageCatalog, Referrer, RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { Tag } from '../../domain/reference.ts';
import type { Upstream } from '../../domain/upstream.ts';
import { type CosignClaim, MAX_CLAIM_BYTES, SIGN_PREDICATE } from './cosign-claim.ts';

const SIMPLE_SIGNING = 'application/vnd.dev.cosign.simplesigning.v1+json';
const SIGNATURE_ARTIFACT = 'application/vnd.dev.cosign.artifact.sig.v1+json';
const BUNDLE = /^application\/vnd\.dev\.sigstore\.bundle(?:\.v\d+\.\d+)?\+json\b/;
/** Cosign 2 lists a bundle with the type of its config, which tells nothing. */
const NO_TYPES: ReadonlySet<string> = new Set(['', 'application/vnd.oci.empty.v1+json']);
const SIGNATURE = 'dev.cosignproject.cosign/signature';

/** The number of claims that are read for one image; a registry may list more. */
export const MAX_CLAIMS = 32;
/** Attestations without a mark are listed among them, because their bundles have the same type. */
const MAX_REFERRERS = 64;
/** The number of layers of one manifest; the last one is not read, and shows that there are more. */
const MAX_LAYERS = MAX_CLAIMS + 1;

export interface ArtifactPorts {
  readonly gateway: Pick<RegistryGateway, 'fetchManifest' | 'fetchBlob'>;
  readonly catalog: Pick<ImageCatalog, 'fetchTagged' | 'listReferrers'>;
}

/** Reads a claim, or throws the error of a part of the list. */
type FoundClaim = () => Promise<CosignClaim>;

/**
 * Yields the claims of an image, which must be read one after the other. A call rejects if the registry lacks the listed
 * claim.
 */
export async function* findClaims(
  { gateway, catalog }: ArtifactPorts,
  upstream: Upstream,
  image: Digest,
  signal: AbortSignal,
): AsyncGenerator<FoundClaim> {
  const read = (layer: Descriptor): Promise<Uint8Array> => readLayer(gateway, upstream, layer, signal);
  const tag = `sha256-${digestHex(image)}.sig` as Tag;
  yield* claimsIn(() => unlessUnknown(catalog.fetchTagged(upstream, tag, signal)), read);
  const referrers = await attempt(() => catalog.listReferrers(upstream, image, signal));
  if ('failed' in referrers) {
    yield referrers.failed;
    return;
  }
  for (const { digest } of referrers.done.filter(mayBeSignature).slice(0, MAX_REFERRERS)) {
    yield* claimsIn(async () => {
      const bytes = await gateway.fetchManifest(upstream, digest, signal);
      const found = digestOf(bytes);
      if (found !== digest) throw new DigestMismatchError(digest, found);
      return bytes;
    }, read);
  }
}

/** Scans of an image add an attestation each day, which their publishers mostly mark. */
function mayBeSignature({ artifactType: type = '', predicateType = SIGN_PREDICATE }: Referrer): boolean {
  return predicateType === SIGN_PREDICATE && (NO_TYPES.has(type) || type === SIGNATURE_ARTIFACT || BUNDLE.test(type));
}

/** A failure does not hide the other claims: it yields a claim that cannot be read. */
async function* claimsIn(
  fetch: () => Promise<Uint8Array | undefined>,
  read: (layer: Descriptor) => Promise<Uint8Array>,
): AsyncGenerator<FoundClaim> {
  const manifest = await attempt(fetch);
  if ('failed' in manifest) yield manifest.failed;
  else if (manifest.done !== undefined) yield* layersOf(manifest.done).map((layer) => () => claimOf(layer, read));
}

type Attempt<Result> = { readonly done: Result } | { readonly failed: () => Promise<never> };

async function attempt<Result>(work: () => Promise<Result>): Promise<Attempt<Result>> {
  try {
    return { done: await work() };
  } catch (error) {
    return {
      failed: () => Promise.reject(error instanceof Error ? error : new Error('unknown error')),
    };
  }
}

async function unlessUnknown<Found>(found: Promise<Found>): Promise<Found | undefined> {
  try {
    return await found;
  } catch (error) {
    if (isOneOf(error, 'MANIFEST_UNKNOWN')) return undefined;
    throw error;
  }
}

interface SignatureLayer {
  readonly descriptor: Descriptor;
  /** Undefined for a bundle, which contains its signature. */
  readonly signature: string | undefined;
}

/** Returns an empty list for a manifest without signatures. */
function layersOf(manifest: Uint8Array): SignatureLayer[] {
  try {
    const { layers } = asObject(parseBoundedJson(manifest), 'manifest');
    return Array.isArray(layers) ? layers.slice(0, MAX_LAYERS).flatMap((layer: unknown) => parseLayer(layer)) : [];
  } catch {
    // The bytes are not a manifest.
    return [];
  }
}

/** Returns an empty list for a layer that is not a signature. */
function parseLayer(json: unknown): SignatureLayer[] {
  try {
    const descriptor = parseDescriptor(json);
    if (BUNDLE.test(descriptor.mediaType)) return [{ descriptor, signature: undefined }];
    const { annotations } = asObject(json, 'layer');
    const signature = asObject(annotations ?? {}, 'annotations')[SIGNATURE];
    const isSignature = descriptor.mediaType === SIMPLE_SIGNING && typeof signature === 'string';
    return isSignature ? [{ descriptor, signature }] : [];
  } catch {
    return [];
  }
}

async function claimOf(
  { descriptor, signature }: SignatureLayer,
  read: (layer: Descriptor) => Promise<Uint8Array>,
): Promise<CosignClaim> {
  const bytes = await read(descriptor);
  return signature === undefined
    ? { kind: 'bundle', bundle: bytes }
    : { kind: 'simple-signing', payload: bytes, signature };
}

async function readLayer(
  gateway: ArtifactPorts['gateway'],
  upstream: Upstream,
  layer: Descriptor,
  signal: AbortSignal,
): Promise<Uint8Array> {
  if (layer.data !== undefined) return layer.data;
  const most = Math.min(layer.size, MAX_CLAIM_BYTES);
  if (layer.size > most) throw new ClaimTooLargeError();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of await gateway.fetchBlob(upstream, layer, 0, signal)) {
    length += chunk.byteLength;
    if (length > most) throw new DigestMismatchError(`${String(layer.size)} bytes`, 'more bytes');
    // A chunk is valid until the next one is requested.
    chunks.push(Uint8Array.from(chunk));
  }
  const bytes = Buffer.concat(chunks);
  const found = digestOf(bytes);
  if (found !== layer.digest) throw new DigestMismatchError(layer.digest, found);
  return bytes;
}

/** The claim is larger than any signature. */
export class ClaimTooLargeError extends Error {
  override readonly name = 'ClaimTooLargeError';
  constructor() {
    super(`it has more than ${String(MAX_CLAIM_BYTES)} bytes`);
  }
}
