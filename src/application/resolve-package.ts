/** Finds the layer that is the package of a requested digest, by the manifest, which is cached like any other blob. */
import { BoundedMap } from '../domain/bounded-map.ts';
import type { Descriptor, Digest } from '../domain/descriptor.ts';
import { InvalidContentError, isOneOf } from '../domain/errors.ts';
import type { Platform } from '../domain/index-entry.ts';
import { type Index, type Manifest, MAX_MANIFEST_BYTES, packageLayer } from '../domain/manifest.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import type { BlobReader, PackageStore, SoughtBlob, StoredBlob } from '../domain/ports/package-store.ts';
import type { RegistryGateway } from '../domain/ports/registry-gateway.ts';
import type { Package, PackageRequest } from '../domain/reference.ts';
import { SingleFlight } from './concurrency/single-flight.ts';
import {
  fetchManifest,
  ownTurn,
  platformManifest,
  readManifest,
  upstreamOf,
  type VerifiedManifest,
} from './manifests.ts';
import { once } from './resumed-download.ts';

/** About 20 MB: all packages of a cache of 100 000 files. A package that is not known costs a read of its manifest. */
const MAX_KNOWN = 50_000;
/** The number of remembered digests without a package. */
const MAX_FAILED = 10_000;

interface ResolvePackageOptions {
  readonly store: PackageStore;
  readonly gateway: RegistryGateway;
  readonly credentials: CredentialProvider;
  /** The platform to which an index resolves. */
  readonly platform: Platform;
  /** Aborted when the process stops. */
  readonly stopping: AbortSignal;
}

/** A manifest of a requested package that is not cached. */
export interface MissingManifest {
  readonly missing: Digest;
}

/** The methods that resolve a digest to its package and its manifest. */
export type PackageResolver = Pick<ResolvePackage, 'execute' | 'manifest' | 'recall'>;

export class ResolvePackage {
  readonly #options: ResolvePackageOptions;
  /** A digest always resolves to the same package, so a hit reads no manifest. */
  readonly #known = new BoundedMap<Digest, Package>(MAX_KNOWN);
  /** The reason why a digest has no package, which never changes. */
  readonly #unusable = new BoundedMap<Digest, InvalidContentError>(MAX_FAILED);
  /** Cached blobs that are not manifests, for example layers; each is read and parsed only once. */
  readonly #notManifests = new BoundedMap<Digest, true>(MAX_FAILED);
  readonly #fetches = new SingleFlight<string, VerifiedManifest>();
  readonly #reads = new SingleFlight<string, VerifiedManifest | undefined>();

  constructor(options: ResolvePackageOptions) {
    this.#options = options;
  }

  /** Reads the store first: a client that knows a digest may get the cached package (the sidecar enforces RBAC). */
  async execute(request: PackageRequest): Promise<Package> {
    const known = this.#known.get(request.digest);
    if (known !== undefined) return known;
    return this.#cache(
      request.digest,
      await this.#layer<never>(request.digest, async (digest) => (await this.#manifest(request, digest)).document),
    );
  }

  /** The requested manifest or index with its bytes as the registry has them. */
  manifest(request: PackageRequest): Promise<VerifiedManifest> {
    return this.#manifest(request, request.digest);
  }

  /**
   * The package if it is known without an upstream, else the first manifest that would have to be fetched. Does not count as a
   * use. Rejects with InvalidContentError if the cached manifests have no package.
   */
  async recall(digest: Digest): Promise<Package | MissingManifest> {
    const known = this.#known.get(digest);
    if (known !== undefined) return known;
    let missing = digest;
    const layer = await this.#layer(digest, async (each) => {
      missing = each;
      return (await this.#cached({ digest: each, isUse: false }))?.document;
    });
    return layer === undefined ? { missing } : this.#cache(digest, layer);
  }

  /** The packages of requested digests since the start, in the order in which they became known. */
  known(): Package[] {
    return [...this.#known.values()];
  }

  #cache(digest: Digest, layer: Descriptor): Package {
    const found = { digest, layer };
    // A package with its content in the descriptor is not remembered, because many of them would take too much memory.
    if (layer.data === undefined) this.#known.set(digest, found);
    return found;
  }

  async #layer<Absent extends undefined>(
    digest: Digest,
    find: (digest: Digest) => Promise<Manifest | Index | Absent>,
  ): Promise<Descriptor | Absent> {
    const unusable = this.#unusable.get(digest);
    if (unusable !== undefined) throw unusable;
    let notFound: unknown;
    const noted: typeof find = (each) =>
      find(each).catch((error: unknown) => {
        notFound = error;
        throw error;
      });
    try {
      const document = await noted(digest);
      if (document === undefined) return document;
      if (document.kind === 'manifest') return packageLayer(document);
      const manifest = await platformManifest(document, this.#options.platform, noted);
      return manifest === undefined ? manifest : packageLayer(manifest);
    } catch (error) {
      // Errors of the store and the registry are not properties of the digest.
      if (error instanceof InvalidContentError && notFound === undefined) this.#unusable.set(digest, error);
      throw error;
    }
  }

  async #manifest(request: PackageRequest, digest: Digest): Promise<VerifiedManifest> {
    const { path = '', repository, isBeside = false } = request;
    const key = `${digest} ${path} ${repository} ${String(isBeside)}`;
    return (await this.#cached({ digest })) ?? this.#fetches.run(key, () => this.#fetch(request, digest));
  }

  /**
   * Reads the manifest from the store. If the cached blob is not a manifest, for example a layer, the upstream decides. A blob
   * that is too large is not opened, because that could hash all of it. Requests for one digest share the bytes.
   */
  async #cached(sought: SoughtBlob): Promise<VerifiedManifest | undefined> {
    const { digest, size } = sought;
    const isTooLarge = (this.#options.store.info(digest)?.size ?? Infinity) > MAX_MANIFEST_BYTES;
    if (this.#notManifests.has(digest) || isTooLarge) return undefined;
    return this.#reads.run(`${digest} ${String(size)}`, () => this.#read(sought));
  }

  async #read(sought: SoughtBlob): Promise<VerifiedManifest | undefined> {
    const { digest } = sought;
    let blob: StoredBlob | undefined;
    try {
      blob = await this.#options.store.open(sought);
      if (blob === undefined) return undefined;
      const stored = blob;
      return await readManifest(stored.size, () => readAll(stored));
    } catch (error) {
      if (!isOneOf(error, 'STORE_FAILED', 'MANIFEST_INVALID')) throw error;
      if (error.code === 'MANIFEST_INVALID') this.#notManifests.set(digest, true);
      return undefined;
    } finally {
      await blob?.close();
    }
  }

  async #fetch(request: PackageRequest, digest: Digest): Promise<VerifiedManifest> {
    const { credentials, gateway, stopping } = this.#options;
    // One fetch begins in each turn of the event loop, after waiting work on large manifests: 300 at once would delay new
    // connections and probes for 3 s.
    await ownTurn();
    const fetched = await fetchManifest(gateway, await upstreamOf(request, credentials), digest, stopping);
    const { document, bytes } = fetched;
    await this.#store({ mediaType: document.mediaType, digest, size: bytes.byteLength }, bytes);
    return fetched;
  }

  async #store(manifest: Descriptor, bytes: Uint8Array): Promise<void> {
    try {
      const reservation = await this.#options.store.reserve(manifest);
      await reservation.write(once(bytes)).settled;
    } catch (error) {
      // A full or broken store does not prevent the delivery of a package.
      if (!isOneOf(error, 'STORE_FULL', 'STORE_FAILED')) throw error;
    }
  }
}

async function readAll(blob: BlobReader): Promise<Uint8Array> {
  const bytes = new Uint8Array(blob.size);
  for (let at = 0; at < bytes.byteLength;) {
    const some = await blob.read(at);
    bytes.set(some, at);
    at += some.byteLength;
  }
  return bytes;
}
