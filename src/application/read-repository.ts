/** Serves manifests and blobs of a repository by its own name, like a read-only registry. */
import { BoundedMap } from '../domain/bounded-map.ts';
import type { Index, Manifest } from '../domain/manifest.ts';
import { type Descriptor, type Digest, digestOf } from '../domain/descriptor.ts';
import { isOneOf, RepositoryUnknownError, SignatureError } from '../domain/errors.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import type { PackageStore } from '../domain/ports/package-store.ts';
import type { BlobSizes, ImageCatalog } from '../domain/ports/registry-gateway.ts';
import {
  DEFAULT_REPOSITORY,
  type PackageRequest,
  parseRepositoryName,
  parseRepositoryPath,
  registryKey,
  registryNames,
  type RepositoryPath,
  type Tag,
} from '../domain/reference.ts';
import type { Upstream } from '../domain/upstream.ts';
import { SingleFlight } from './concurrency/single-flight.ts';
import type { Delivery, GetPackage, Head } from './get-package.ts';
import { upstreamOf, type VerifiedManifest } from './manifests.ts';
import type { ResolvePackage } from './resolve-package.ts';
import type { ResolveSignedPackage } from './resolve-signed-package.ts';

/** About 15 MB: the blobs of some thousand images. A blob that is not known costs a request to its registry. */
const MAX_KNOWN = 50_000;
/** The media type of any blob, because only the manifest states it. */
const ANY_BYTES = 'application/octet-stream';

/** A configured repository, or one below it. */
type Place = Pick<PackageRequest, 'repository' | 'path'>;

interface ReadRepositoryOptions {
  readonly credentials: CredentialProvider;
  readonly manifests: Pick<ResolvePackage, 'manifest'>;
  readonly packages: Pick<GetPackage, 'deliver'>;
  readonly store: Pick<PackageStore, 'info'>;
  readonly catalog: Pick<ImageCatalog, 'fetchTagged'>;
  readonly sizes: BlobSizes;
  /** Undefined if signatures are not verified. */
  readonly signatures: Pick<ResolveSignedPackage, 'mode' | 'check'> | undefined;
}

/** A blob as described by a manifest of its repository. */
interface KnownBlob {
  readonly size: number;
  /** The last delivered manifest with this blob. */
  readonly manifest: Digest;
}

export class ReadRepository {
  readonly #options: ReadRepositoryOptions;
  /** Keyed by repository and digest, because the size is a claim of a manifest of that repository. */
  readonly #known = new BoundedMap<string, KnownBlob>(MAX_KNOWN);
  readonly #tags = new SingleFlight<string, Digest>();
  readonly #sizes = new SingleFlight<string, number>();

  constructor(options: ReadRepositoryOptions) {
    this.#options = options;
  }

  /**
   * Finds the configured repository that is `name` in the registry `host`, or the closest one above it. Without a host the name
   * belongs to the default registry. Rejects with RepositoryUnknownError for any other name, so that clients cannot make the
   * service connect to other registries.
   */
  async find(name: RepositoryPath, host: string | undefined): Promise<Place> {
    const { credentials } = this.#options;
    const byDefault = host === undefined ? await credentials.resolve(DEFAULT_REPOSITORY) : undefined;
    const asked = host ?? byDefault?.registry.host ?? '';
    let closest: { readonly place: Place; readonly length: number } | undefined;
    const consider = (upstream: Upstream, repository: Place['repository']): void => {
      const { length } = upstream.repository ?? '';
      if (closest !== undefined && closest.length >= length) return;
      const { scheme } = upstream.registry;
      if (registryKey(asked, scheme) !== registryKey(upstream.registry.host, scheme)) return;
      if (!isWithin(upstream, name)) return;
      const path = name.slice(length).replace(/^\//, '');
      closest = { place: { repository, path: path === '' ? undefined : parseRepositoryPath(path) }, length };
    };
    if (byDefault !== undefined) consider(byDefault, DEFAULT_REPOSITORY);
    for (const repository of namesOf(asked, name).map(parseRepositoryName)) {
      const upstream = await credentials.resolve(repository).catch((error: unknown) => {
        if (isOneOf(error, 'NAME_UNKNOWN')) return undefined;
        throw error;
      });
      if (upstream !== undefined) consider(upstream, repository);
    }
    if (closest === undefined) throw new RepositoryUnknownError();
    return closest.place;
  }

  /** The current manifest of a tag. The registry is asked each time; concurrent requests share the request. */
  tagged(place: Place, tag: Tag, leaving: AbortSignal): Promise<Digest> {
    const { catalog, credentials } = this.#options;
    const ask = async (signal: AbortSignal): Promise<Digest> =>
      digestOf(await catalog.fetchTagged(await upstreamOf(place, credentials), tag, signal));
    return this.#tags.run(`${tag} ${keyOf(place)}`, ask, leaving);
  }

  /** Rejects as ResolvePackage or ResolveSignedPackage does. */
  async manifest(request: PackageRequest): Promise<VerifiedManifest> {
    const found = await this.#options.manifests.manifest(request);
    this.#learn(request, found.document);
    return found;
  }

  /** Rejects as `GetPackage.deliver` does, and as `BlobSizes.blobSize` does for a blob of no known manifest. */
  async blob(request: PackageRequest, leaving: AbortSignal, turn: (bytes: number) => Promise<void>): Promise<Delivery> {
    const layer = await this.#describe(request, leaving);
    return this.#options.packages.deliver(request, { digest: request.digest, layer }, leaving, turn);
  }

  /** Downloads no blob. */
  async head(request: PackageRequest, leaving: AbortSignal): Promise<Head> {
    const layer = await this.#describe(request, leaving);
    const { storedAt } = this.#options.store.info(request.digest) ?? {};
    return { package: { digest: request.digest, layer }, storedAt };
  }

  async #describe(request: PackageRequest, leaving: AbortSignal): Promise<Descriptor> {
    const { store, signatures } = this.#options;
    const { digest } = request;
    const known = this.#known.get(`${digest} ${keyOf(request)}`);
    if (signatures?.mode === 'enforce') {
      if (known === undefined) throw new SignatureError('unavailable', 'no manifest here has named this blob yet');
      await signatures.check({ ...request, digest: known.manifest });
    }
    // The size of a cached blob is verified.
    const size = store.info(digest)?.size ?? known?.size ?? (await this.#askSize(request, leaving));
    return { mediaType: ANY_BYTES, digest, size };
  }

  #askSize(request: PackageRequest, leaving: AbortSignal): Promise<number> {
    const { sizes, credentials } = this.#options;
    const ask = async (signal: AbortSignal): Promise<number> =>
      sizes.blobSize(await upstreamOf(request, credentials), request.digest, signal);
    return this.#sizes.run(`${request.digest} ${keyOf(request)}`, ask, leaving);
  }

  #learn(request: PackageRequest, document: Manifest | Index): void {
    if (document.kind === 'index') return;
    for (const blob of [document.config, ...document.layers]) {
      if (blob === undefined) continue;
      this.#known.set(`${blob.digest} ${keyOf(request)}`, { size: blob.size, manifest: request.digest });
    }
  }
}

/** The names under which a repository, or one above it, can be configured. */
function namesOf(host: string, name: RepositoryPath): string[] {
  const segments = name.split('/');
  const paths = segments.map((_, index) => `/${segments.slice(0, index + 1).join('/')}`);
  return registryNames(host).flatMap((each) => [...paths.map((path) => `${each}${path}`), each]);
}

/** Whether a repository is that of the upstream, or one below it. */
function isWithin({ repository }: Upstream, name: RepositoryPath): boolean {
  return repository === undefined || name === repository || name.startsWith(`${repository}/`);
}

function keyOf({ repository, path }: Place): string {
  return `${repository} ${path ?? ''}`;
}
