/** Delivers a package from the store, from a download into it, or past it. */
import type { Descriptor, Digest } from '../domain/descriptor.ts';
import { isOneOf, type NoRoom, PackageError, StoreFullError } from '../domain/errors.ts';
import type { Package, PackageRequest } from '../domain/reference.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import type { BlobInfo, BlobReader, PackageStore } from '../domain/ports/package-store.ts';
import type { Operation, RegistryGateway, SourceInspection, SourceKind } from '../domain/ports/registry-gateway.ts';
import type { Upstream } from '../domain/upstream.ts';
import { DownloadSlots, type SlotUsage } from './download-slots.ts';
import { type Download, Downloads, type WantedLayer } from './downloads.ts';
import { FailoverReader } from './failover-reader.ts';
import { upstreamOf } from './manifests.ts';
import { PassThroughs } from './pass-throughs.ts';
import type { PackageResolver } from './resolve-package.ts';
import { openBlob, resumedDownload } from './resumed-download.ts';

/** The cache result of a request. */
export type CacheOutcome =
  | { readonly kind: 'hit'; readonly storedAt: Date }
  /** This request began the download. `isStored`: whether it is cached, or is expected to be; `source`: where it comes from. */
  | { readonly kind: 'miss'; readonly isStored: () => boolean; readonly source: () => SourceKind | undefined }
  /** Another request had begun it. */
  | { readonly kind: 'joined' }
  /** Straight from the upstream and not kept. */
  | { readonly kind: 'bypass'; readonly reason: NoRoom | 'store-failed' };

export interface Delivery {
  readonly package: Package;
  readonly cache: CacheOutcome;
  /** The caller must close it. */
  readonly blob: BlobReader;
}

export interface Head {
  readonly package: Package;
  readonly storedAt: Date | undefined;
}

/** The source of a layer: the cache, a running download, or a new download. */
type Source =
  | { readonly kind: 'hit'; readonly blob: BlobInfo }
  | { readonly kind: 'joined'; readonly download: Download; readonly upstream: Upstream }
  /** `isDamaged`: the store has a blob of this digest with another size, which it looks at when it is opened. */
  | { readonly kind: 'download'; readonly upstream: Upstream; readonly isDamaged: boolean };

/** The result of a request, as far as it is decided without a request to a registry. */
export type Plan = (
  | { readonly kind: 'hit'; readonly blob: BlobInfo }
  | { readonly kind: 'joined'; readonly download: Download }
  /** The registry will be asked. */
  | { readonly kind: 'miss' }
  | { readonly kind: 'bypass'; readonly reason: NoRoom | 'store-failed' }
  /** The request fails, and no registry is asked. */
  | { readonly kind: 'fail'; readonly error: PackageError }
) & {
  /** Undefined unless all manifests of the package are cached. */
  readonly package?: Package;
  /** The first manifest that has to be fetched for the package. */
  readonly missing?: Digest;
};

/** A fetch that `plan` predicts; `operation` is undefined for a layer whose bytes are in its descriptor. */
interface Fetch {
  readonly operation: Operation | undefined;
  readonly digest: Digest;
  readonly size: number;
}

interface GetPackageOptions {
  readonly resolve: Pick<PackageResolver, 'execute' | 'recall'>;
  readonly store: PackageStore;
  readonly gateway: RegistryGateway;
  readonly credentials: CredentialProvider;
  /** Undefined if there are no sources besides registries. */
  readonly sources?: Pick<SourceInspection, 'servedBy'> | undefined;
  /** The highest number of running downloads. */
  readonly parallelDownloads: number;
  /** Aborted when the process stops; ends all downloads. */
  readonly stopping: AbortSignal;
}

const NEVER = new AbortController().signal;
type Turn = (bytes: number) => Promise<void>;
const NO_TURN: Turn = () => Promise.resolve();

export class GetPackage {
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
   * Rejects with a PackageError if it cannot get a byte of the package, or with the reason of `leaving`, which is aborted when
   * the client leaves: a download that waits for a slot ends with its last client. `turn` resolves when the client is admitted
   * to a body of that size. A bypassing download is opened after it, because it takes memory and a connection, and is of no
   * use to a waiting client.
   */
  async execute(request: PackageRequest, leaving = NEVER, turn: Turn = NO_TURN): Promise<Delivery> {
    return this.deliver(request, await this.#options.resolve.execute(request), leaving, turn);
  }

  /** Delivers any blob of the repository whose size is known. */
  async deliver(request: PackageRequest, found: Package, leaving = NEVER, turn: Turn = NO_TURN): Promise<Delivery> {
    const passThrough = async (): Promise<BlobReader> => {
      await turn(found.layer.size);
      return this.#passThrough(request, found.layer, leaving);
    };
    const opened = await this.#open(request, found.layer, leaving).catch(reasonToBypass);
    if (typeof opened === 'string')
      return { package: found, cache: { kind: 'bypass', reason: opened }, blob: await passThrough() };
    const { cache, blob } = opened;
    const reopen = async (isEvicted: boolean): Promise<BlobReader> =>
      (isEvicted ? await this.#options.store.open(found.layer).catch(() => undefined) : undefined) ?? passThrough();
    return { package: found, cache, blob: new FailoverReader(blob, reopen, cache.kind === 'hit') };
  }

  /** The package that `execute` would deliver, with the time since which it is cached. Downloads no blob. */
  async head(request: PackageRequest): Promise<Head> {
    const found = await this.#options.resolve.execute(request);
    const stored = await this.#options.store.open(found.layer).catch(() => undefined);
    await stored?.close();
    return { package: found, storedAt: stored?.storedAt };
  }

  /** Decides as `execute` does, but sends no request to a registry, downloads no blob and does not count as a use. */
  async plan(request: PackageRequest): Promise<Plan> {
    let known: Pick<Plan, 'package' | 'missing'> = {};
    try {
      const found = await this.#options.resolve.recall(request.digest);
      known = 'missing' in found ? found : { package: found };
      if ('missing' in found) {
        const fetch = { operation: 'manifest', digest: found.missing, size: 0 } as const;
        return { ...known, ...(await this.#forecast(await this.#upstream(request), fetch)) };
      }
      const { layer } = found;
      const source = await this.#find(request, layer);
      if (source.kind === 'hit') return { ...known, kind: 'hit', blob: source.blob };
      if (source.kind === 'joined') return { ...known, kind: 'joined', download: source.download };
      const isRunning = this.#passThroughs.serves(layer, source.upstream.registry);
      const refusal = isRunning ? await this.#options.store.refusal(layer.size) : undefined;
      if (refusal !== undefined) return { ...known, kind: 'bypass', reason: refusal };
      const fetch = { ...layer, operation: layer.data === undefined ? 'blob' : undefined } as const;
      return { ...known, ...(await this.#forecast(source.upstream, fetch)) };
    } catch (error) {
      if (!(error instanceof PackageError)) throw error;
      return { ...known, kind: 'fail', error };
    }
  }

  /** The slots of all downloads, including those that bypass the store. */
  get slots(): SlotUsage {
    return this.#slots.usage;
  }

  /** The downloads into the store, the oldest first. */
  list(): Download[] {
    return this.#downloads.list();
  }

  async #open(
    request: PackageRequest,
    layer: Descriptor,
    leaving: AbortSignal,
  ): Promise<Pick<Delivery, 'cache' | 'blob'>> {
    const source = await this.#find(request, layer);
    if (source.kind === 'joined') {
      const joined = this.#downloads.join(this.#wanted(request, layer, source.upstream, leaving));
      if (joined !== undefined) return { cache: { kind: 'joined' }, blob: await joined };
    }
    // If the download has ended since, its layer is cached.
    const isAbsent = source.kind === 'download' && !source.isDamaged;
    const stored = isAbsent ? undefined : await this.#options.store.open(layer);
    if (stored !== undefined) return { cache: { kind: 'hit', storedAt: stored.storedAt }, blob: stored };
    const upstream = source.kind === 'download' ? source.upstream : await this.#upstream(request);
    const wanted = this.#wanted(request, layer, upstream, leaving);
    // Another request may have begun the download meanwhile.
    const begun = this.#downloads.join(wanted);
    if (begun !== undefined) return { cache: { kind: 'joined' }, blob: await begun };
    const { blob, isStored } = await this.#downloads.begin(wanted);
    return { cache: { kind: 'miss', isStored, source: () => this.#options.sources?.servedBy(layer.digest) }, blob };
  }

  async #find(request: PackageRequest, layer: Descriptor): Promise<Source> {
    // A hit needs no registry, so the registry is resolved only if there may be a download to join.
    const early = this.#downloads.isArriving(layer) ? await this.#upstream(request) : undefined;
    // Downloads and store are read in one turn, so that a layer that moves from one to the other is always found.
    if (early !== undefined) {
      const download = this.#downloads.find(layer, early.registry);
      if (download !== undefined) return { kind: 'joined', download, upstream: early };
    }
    const blob = this.#options.store.info(layer.digest);
    if (blob?.size === layer.size) return { kind: 'hit', blob };
    const isDamaged = blob !== undefined;
    return { kind: 'download', upstream: early ?? (await this.#upstream(request)), isDamaged };
  }

  /** Predicts the beginning of a fetch: gateway and store apply the rules by which they would refuse it. */
  async #forecast(upstream: Upstream, { operation, digest, size }: Fetch): Promise<Plan> {
    const { gateway, store } = this.#options;
    const error = operation && gateway.knownRefusal(upstream, operation, digest);
    if (error !== undefined) return { kind: 'fail', error };
    const reason = await store.refusal(size);
    return reason === undefined ? { kind: 'miss' } : { kind: 'bypass', reason };
  }

  #wanted(request: PackageRequest, layer: Descriptor, { registry }: Upstream, leaving: AbortSignal): WantedLayer {
    return {
      request,
      layer,
      registry,
      leaving,
      open: (offset, signal) => this.#download(request, layer, offset, signal),
    };
  }

  async #passThrough(request: PackageRequest, layer: Descriptor, leaving: AbortSignal): Promise<BlobReader> {
    return this.#passThroughs.open(this.#wanted(request, layer, await this.#upstream(request), leaving));
  }

  #upstream(request: PackageRequest): Promise<Upstream> {
    return upstreamOf(request, this.#options.credentials);
  }

  /** Downloads a layer from `start` on and resumes it where it breaks off; each attempt uses the current credentials. */
  #download(
    request: PackageRequest,
    layer: Descriptor,
    start: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const fetch = (offset: number): Promise<AsyncIterable<Uint8Array>> =>
      openBlob(this.#options.gateway, () => this.#upstream(request), layer, start + offset, signal);
    return resumedDownload(layer.size - start, fetch);
  }
}

/** Returns the reason instead of the error, whose stack would keep the failed download in memory while the client waits. */
function reasonToBypass(error: unknown): NoRoom | 'store-failed' {
  if (!isOneOf(error, 'STORE_FULL', 'STORE_FAILED')) throw error;
  return error instanceof StoreFullError ? error.reason : 'store-failed';
}
