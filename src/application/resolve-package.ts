/** From a requested digest to the layer that is the package: by the manifest, which is cached like any other blob. */
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

/** About 20 MB, and all packages of a cache of 100 000 files: one that is not known costs the reading of its manifest. */
const MAX_KNOWN = 50_000;
/** Digests that lead to no package. */
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

/** A manifest that is not cached, on the way from a requested digest to its package. */
export interface MissingManifest {
  readonly missing: Digest;
}

/** The ways from a digest to its package and its manifest. */
export type PackageResolver = Pick<ResolvePackage, 'execute' | 'manifest' | 'recall'>;

export class ResolvePackage {
  readonly #options: ResolvePackageOptions;
  /** A digest always resolves to the same package, so a hit reads no manifest. */
  readonly #known = new BoundedMap<Digest, Package>(MAX_KNOWN);
  /** Why a digest leads to no package: as unchangeable as what it leads to. */
  readonly #unusable = new BoundedMap<Digest, InvalidContentError>(MAX_FAILED);
  /** Cached blobs that are no manifests, layers for instance: each is read and parsed once. */
  readonly #notManifests = new BoundedMap<Digest, true>(MAX_FAILED);
  readonly #fetches = new SingleFlight<string, VerifiedManifest>();
  readonly #reads = new SingleFlight<string, VerifiedManifest | undefined>();

  constructor(options: ResolvePackageOptions) {
    this.#options = options;
  }

  /** Asks the store before the credentials: a client that knows a digest may have the cached package (the sidecar enforces RBAC). */
  async execute(request: PackageRequest): Promise<Package> {
    const known = this.#known.get(request.digest);
    if (known !== undefined) return known;
    return this.#cache(
      request.digest,
      await this.#layer<never>(request.digest, async (digest) => (await this.#manifest(request, digest)).document),
    );
  }

  /** The manifest or the index that is asked for, and its bytes as the registry has them. */
  manifest(request: PackageRequest): Promise<VerifiedManifest> {
    return this.#manifest(request, request.digest);
  }

  /**
   * The package as far as it is known without an upstream, or the first manifest that would have to be fetched. Counts as no
   * use. Rejects with InvalidContentError when the cached manifests lead to no package.
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

  /** The packages of requested digests since the start; the first to be known first. */
  known(): Package[] {
    return [...this.#known.values()];
  }

  #cache(digest: Digest, layer: Descriptor): Package {
    const found = { digest, layer };
    // So many packages with their content would not fit into memory, so such a manifest is read again.
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
      // Errors of the store and the registry are not facts about the digest.
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
   * A cached blob under this digest that is not a manifest (a layer, say) is for the upstream to judge. A blob that is too
   * large for one stays closed: to open it could be to hash all of it. Requests for one digest share the bytes.
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
    // One a turn of the event loop, and after the large manifests that are here: 300 at once would keep new connections,
    // probes among them, waiting for 3 s.
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
      // A store that is full or broken ends no delivery of a package.
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
