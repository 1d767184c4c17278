/** From a requested digest to the layer that is the package: by the manifest, kept like any other blob. */
import { type Descriptor, type Digest, digestOf } from '../domain/descriptor.ts';
import { DigestMismatchError, InvalidContentError, isOneOf } from '../domain/errors.ts';
import {
  type Index,
  type Manifest,
  manifestSteps,
  MAX_MANIFEST_BYTES,
  packageLayer,
  parseManifest,
} from '../domain/manifest.ts';
import type { Package, PackageRequest } from '../domain/reference.ts';
import type { Platform } from '../domain/index-entry.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import type { BlobReader, PackageStore, SoughtBlob, StoredBlob } from '../domain/ports/package-store.ts';
import type { RegistryGateway } from '../domain/ports/registry-gateway.ts';
import type { PackageInspection } from './inspection.ts';
import { once } from './open-blob.ts';
import { platformManifest } from './platform-manifest.ts';
import { SingleFlight } from './single-flight.ts';
import { Turns } from './turns.ts';
import { upstreamOf } from './upstream-of.ts';

/** About 20 MB, and all packages of a cache of 100 000 files: one that is not known costs the reading of its manifest. */
const MAX_KNOWN = 50_000;
/** Digests that lead to no package. */
const MAX_FAILED = 10_000;
/** Parsed within about 2 ms. */
const LARGE_BYTES = 64 * 1024;

export interface ResolvePackageOptions {
  readonly store: PackageStore;
  readonly gateway: RegistryGateway;
  readonly credentials: CredentialProvider;
  /** The platform to which an index resolves. */
  readonly platform: Platform;
  /** Aborted when the process stops. */
  readonly stopping: AbortSignal;
}

export interface VerifiedManifest {
  readonly document: Manifest | Index;
  /** Those of its digest. */
  readonly bytes: Uint8Array;
}

/** A manifest that is not cached, on the way from a requested digest to its package. */
export interface MissingManifest {
  readonly missing: Digest;
}

/** The ways from a digest to its package and its manifest. */
export type PackageResolver = Pick<ResolvePackage, 'execute' | 'manifest' | 'recall'>;

export class ResolvePackage implements PackageInspection {
  readonly #options: ResolvePackageOptions;
  /** A digest always resolves to the same package, so a hit reads no manifest. */
  readonly #known = new Map<Digest, Package>();
  /** Why a digest leads to no package: as unchangeable as what it leads to. */
  readonly #unusable = new Map<Digest, InvalidContentError>();
  /** Kept blobs that are no manifests, layers for instance: each is read and parsed once. */
  readonly #notManifests = new Map<Digest, true>();
  readonly #fetches = new SingleFlight<string, VerifiedManifest>();
  readonly #reads = new SingleFlight<string, VerifiedManifest | undefined>();
  readonly #turns = new Turns<'work'>();

  constructor(options: ResolvePackageOptions) {
    this.#options = options;
  }

  /** Asks the store before the credentials: a client that knows a digest may have the cached package (the sidecar enforces RBAC). */
  async execute(request: PackageRequest): Promise<Package> {
    const known = this.#known.get(request.digest);
    if (known !== undefined) return known;
    return this.#learn(
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
    return layer === undefined ? { missing } : this.#learn(digest, layer);
  }

  known(): Package[] {
    return [...this.#known.values()];
  }

  #learn(digest: Digest, layer: Descriptor): Package {
    const found = { digest, layer };
    // So many packages with their content would not fit into memory, so such a manifest is read again.
    if (layer.data === undefined) remember(this.#known, digest, found, MAX_KNOWN);
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
      if (error instanceof InvalidContentError && notFound === undefined) remember(this.#unusable, digest, error);
      throw error;
    }
  }

  async #manifest(request: PackageRequest, digest: Digest): Promise<VerifiedManifest> {
    const key = `${digest} ${request.path ?? ''} ${request.repository}`;
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
      if (stored.size <= LARGE_BYTES) {
        const bytes = await readAll(stored);
        return { document: parseManifest(bytes), bytes };
      }
      // Read when its turn has come: hundreds of large manifests would wait for it with all their bytes.
      return await this.#turns.take('work', async () => {
        const bytes = await readAll(stored);
        return { document: await parseInTurns(bytes), bytes };
      });
    } catch (error) {
      if (!isOneOf(error, 'STORE_FAILED', 'MANIFEST_INVALID')) throw error;
      if (error.code === 'MANIFEST_INVALID') remember(this.#notManifests, digest, true);
      return undefined;
    } finally {
      await blob?.close();
    }
  }

  async #fetch(request: PackageRequest, digest: Digest): Promise<VerifiedManifest> {
    const { credentials, gateway, stopping } = this.#options;
    // One a turn of the event loop, and after the large manifests that are here: 300 at once would keep new connections,
    // probes among them, waiting for 3 s.
    await this.#turns.take('work', nextTurn);
    const upstream = await upstreamOf(request, credentials);
    const bytes = await gateway.fetchManifest(upstream, digest, stopping);
    const found = await this.#digestOf(bytes);
    if (found !== digest) throw new DigestMismatchError(digest, found);
    const document = await this.#parse(bytes);
    await this.#keep({ mediaType: document.mediaType, digest, size: bytes.byteLength }, bytes);
    return { document, bytes };
  }

  /**
   * Large manifests one after the other, and each in several turns: new connections, probes among them, are accepted in
   * between.
   */
  #parse(bytes: Uint8Array): Promise<Manifest | Index> {
    if (bytes.byteLength <= LARGE_BYTES) return Promise.resolve(bytes).then(parseManifest);
    return this.#turns.take('work', () => parseInTurns(bytes));
  }

  /** Of 4 MiB it takes 10 ms, so these have a turn of their own. */
  async #digestOf(bytes: Uint8Array): Promise<Digest> {
    if (bytes.byteLength <= LARGE_BYTES) return digestOf(bytes);
    return this.#turns.take('work', async () => {
      await nextTurn();
      return digestOf(bytes);
    });
  }

  async #keep(manifest: Descriptor, bytes: Uint8Array): Promise<void> {
    try {
      const reservation = await this.#options.store.reserve(manifest);
      await reservation.write(once(bytes)).settled;
    } catch (error) {
      // A store that is full or broken never keeps a package from being delivered.
      if (!isOneOf(error, 'STORE_FULL', 'STORE_FAILED')) throw error;
    }
  }
}

async function parseInTurns(bytes: Uint8Array): Promise<Manifest | Index> {
  const steps = manifestSteps(bytes);
  for (;;) {
    await nextTurn();
    const step = steps.next();
    if (step.done === true) return step.value;
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

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function remember<Fact>(facts: Map<Digest, Fact>, digest: Digest, fact: Fact, most = MAX_FAILED): void {
  const [oldest] = facts.keys();
  if (oldest !== undefined && facts.size >= most) facts.delete(oldest);
  facts.set(digest, fact);
}
