/** Delivers a package, from the store or through it. */
import type { Descriptor } from '../domain/descriptor.ts';
import { isOneOf } from '../domain/errors.ts';
import type { Package, PackageRequest } from '../domain/package.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import type { BlobReader, BlobSource, PackageStore } from '../domain/ports/package-store.ts';
import type { RegistryGateway } from '../domain/ports/registry-gateway.ts';
import { below, type Registry, type Upstream } from '../domain/upstream.ts';
import { DownloadSlots, type SlotUsage } from './download-slots.ts';
import { Downloads, type WantedLayer } from './downloads.ts';
import { FailoverReader } from './failover-reader.ts';
import type { Download, DownloadInspection } from './inspection.ts';
import { openBlob } from './open-blob.ts';
import { PassThroughs } from './pass-throughs.ts';
import type { ResolvePackage } from './resolve-package.ts';
import { resumedDownload } from './resumed-download.ts';

/** How the cache took part. */
export type CacheOutcome =
  | { readonly kind: 'hit'; readonly storedAt: Date }
  /** This request began the download; `isStored` says whether it is kept, or will be for all that is known. */
  | { readonly kind: 'miss'; readonly isStored: () => boolean }
  /** Another request had begun it. */
  | { readonly kind: 'joined' }
  /** Straight from the upstream and not kept. */
  | { readonly kind: 'bypass'; readonly reason: 'STORE_FULL' | 'STORE_FAILED' };

export interface Delivery {
  readonly package: Package;
  readonly cache: CacheOutcome;
  /** The caller closes it. */
  readonly blob: BlobReader;
}

export interface GetPackageOptions {
  readonly resolve: ResolvePackage;
  readonly store: PackageStore;
  readonly gateway: RegistryGateway;
  readonly credentials: CredentialProvider;
  /** How many downloads of layers run at a time. */
  readonly parallelDownloads: number;
  /** Aborted when the process stops: it ends all downloads. */
  readonly stopping: AbortSignal;
}

const NEVER = new AbortController().signal;

export class GetPackage implements DownloadInspection {
  readonly #options: GetPackageOptions;
  readonly #slots: DownloadSlots;
  readonly #downloads: Downloads;
  readonly #passThroughs: PassThroughs;

  constructor(options: GetPackageOptions) {
    const { store, stopping, parallelDownloads } = options;
    this.#options = options;
    this.#slots = new DownloadSlots({ max: parallelDownloads });
    this.#passThroughs = new PassThroughs({ stopping, slots: this.#slots });
    this.#downloads = new Downloads({ store, stopping, slots: this.#slots, passThroughs: this.#passThroughs });
  }

  /**
   * Rejects with a PackageError as long as no byte of the package can be had, or with the reason of `leaving`, which is
   * aborted when the client leaves: a download that waits for a slot ends with its last client.
   */
  async execute(request: PackageRequest, leaving: AbortSignal = NEVER): Promise<Delivery> {
    const found = await this.#options.resolve.execute(request);
    const passThrough = (): Promise<BlobReader> => this.#passThrough(request, found.layer, leaving);
    try {
      const { cache, blob } = await this.#open(request, found.layer, leaving);
      const reopen = async (isEvicted: boolean): Promise<BlobReader> => {
        const stored = isEvicted ? await this.#options.store.open(found.layer).catch(() => undefined) : undefined;
        return stored ?? passThrough();
      };
      return { package: found, cache, blob: new FailoverReader(blob, reopen, cache.kind === 'hit') };
    } catch (error) {
      if (!isOneOf(error, 'STORE_FULL', 'STORE_FAILED')) throw error;
      return { package: found, cache: { kind: 'bypass', reason: error.code }, blob: await passThrough() };
    }
  }

  get slots(): SlotUsage {
    return this.#slots.usage;
  }

  list(): Download[] {
    return this.#downloads.list();
  }

  find(layer: Descriptor, registry: Registry): Download | undefined {
    return this.#downloads.find(layer, registry);
  }

  async #open(
    request: PackageRequest,
    layer: Descriptor,
    leaving: AbortSignal,
  ): Promise<Pick<Delivery, 'cache' | 'blob'>> {
    // A hit needs no registry, so it is asked for only when there may be something to join.
    const early = this.#downloads.isArriving(layer) ? await this.#wanted(request, layer, leaving) : undefined;
    // Asked in one turn, downloads and store leave no gap between "arriving" and "kept" in which a layer is neither.
    const joined = early && this.#downloads.join(early);
    if (joined !== undefined) return { cache: { kind: 'joined' }, blob: await joined };
    const stored = await this.#options.store.open(layer);
    if (stored !== undefined) return { cache: { kind: 'hit', storedAt: stored.storedAt }, blob: stored };
    const wanted = await this.#wanted(request, layer, leaving);
    // Another request may have begun meanwhile.
    const begun = this.#downloads.join(wanted);
    if (begun !== undefined) return { cache: { kind: 'joined' }, blob: await begun };
    const { blob, isStored } = await this.#downloads.begin(wanted);
    return { cache: { kind: 'miss', isStored }, blob };
  }

  async #wanted(request: PackageRequest, layer: Descriptor, leaving: AbortSignal): Promise<WantedLayer> {
    const { registry } = await this.#upstream(request);
    return {
      request,
      layer,
      registry,
      leaving,
      open: (offset, signal, onReceived) => this.#download(request, layer, offset, signal, onReceived),
    };
  }

  async #passThrough(request: PackageRequest, layer: Descriptor, leaving: AbortSignal): Promise<BlobReader> {
    return this.#passThroughs.open(await this.#wanted(request, layer, leaving));
  }

  async #upstream({ repository, path }: PackageRequest): Promise<Upstream> {
    return below(await this.#options.credentials.resolve(repository), path);
  }

  /**
   * The bytes of a layer from `start` on; the download goes on where it breaks off. The upstream is looked up for each
   * try, because its credentials may have changed.
   */
  #download(
    request: PackageRequest,
    layer: Descriptor,
    start: number,
    signal: AbortSignal,
    onReceived?: (bytes: number) => void,
  ): ReturnType<BlobSource> {
    const fetch = (offset: number): ReturnType<BlobSource> =>
      openBlob(this.#options.gateway, () => this.#upstream(request), layer, start + offset, signal);
    return resumedDownload(layer.size - start, fetch, onReceived);
  }
}
