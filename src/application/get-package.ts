/** Delivers a package, from the store or through it. */
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

/** How the cache took part. */
export type CacheOutcome =
  | { readonly kind: 'hit'; readonly storedAt: Date }
  /** This request began the download; `isStored` says whether it is kept, or will be for all that is known, `source` where from. */
  | { readonly kind: 'miss'; readonly isStored: () => boolean; readonly source: () => SourceKind | undefined }
  /** Another request had begun it. */
  | { readonly kind: 'joined' }
  /** Straight from the upstream and not kept. */
  | { readonly kind: 'bypass'; readonly reason: NoRoom | 'store-failed' };

export interface Delivery {
  readonly package: Package;
  readonly cache: CacheOutcome;
  /** The caller closes it. */
  readonly blob: BlobReader;
}

export interface Head {
  readonly package: Package;
  readonly storedAt: Date | undefined;
}

/** Where the bytes of a layer come from: the cache, a download in progress, or a download that has yet to begin. */
type Source =
  | { readonly kind: 'hit'; readonly blob: BlobInfo }
  | { readonly kind: 'joined'; readonly download: Download; readonly upstream: Upstream }
  /** `isDamaged`: the store has a blob of this digest with another size, which it looks at when it is opened. */
  | { readonly kind: 'download'; readonly upstream: Upstream; readonly isDamaged: boolean };

/** The outcome of a request, as far as it is decided before a registry is asked. */
export type Plan = (
  | { readonly kind: 'hit'; readonly blob: BlobInfo }
  | { readonly kind: 'joined'; readonly download: Download }
  /** The registry will be asked. */
  | { readonly kind: 'miss' }
  | { readonly kind: 'bypass'; readonly reason: NoRoom | 'store-failed' }
  /** The request fails, and no registry is asked. */
  | { readonly kind: 'fail'; readonly error: PackageError }
) & {
  /** Undefined unless all manifests on the way to it are cached. */
  readonly package?: Package;
  /** The first manifest on the way to the package that has to be fetched. */
  readonly missing?: Digest;
};

/** A fetch that `plan` looks ahead to; `operation` is undefined for a layer whose bytes are in its descriptor. */
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
  /** Undefined where registries alone are asked. */
  readonly sources?: Pick<SourceInspection, 'servedBy'> | undefined;
  /** How many downloads of layers run at a time. */
  readonly parallelDownloads: number;
  /** Aborted when the process stops: it ends all downloads. */
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
   * Rejects with a PackageError as long as no byte of the package can be had, or with the reason of `leaving`, which is
   * aborted when the client leaves: a download that waits for a slot ends with its last client. `turn` fulfils when the
   * client may have a body of that size. A pass-through is opened behind it, since it takes memory and a connection, and is
   * of no use to a client that waits.
   */
  async execute(request: PackageRequest, leaving = NEVER, turn: Turn = NO_TURN): Promise<Delivery> {
    return this.deliver(request, await this.#options.resolve.execute(request), leaving, turn);
  }

  /** The same for any blob of the repository, whose size is known. */
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

  /** The package that `execute` would deliver, and since when it is cached; undefined when it is not. Moves no blob. */
  async head(request: PackageRequest): Promise<Head> {
    const found = await this.#options.resolve.execute(request);
    const stored = await this.#options.store.open(found.layer).catch(() => undefined);
    await stored?.close();
    return { package: found, storedAt: stored?.storedAt };
  }

  /** Decides as `execute` does, but asks no registry, moves no blob and counts as no use. */
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

  /** The slots of downloads into the store and of those that bypass it. */
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
    // The layer of a download that has ended since is cached.
    const isAbsent = source.kind === 'download' && !source.isDamaged;
    const stored = isAbsent ? undefined : await this.#options.store.open(layer);
    if (stored !== undefined) return { cache: { kind: 'hit', storedAt: stored.storedAt }, blob: stored };
    const upstream = source.kind === 'download' ? source.upstream : await this.#upstream(request);
    const wanted = this.#wanted(request, layer, upstream, leaving);
    // Another request may have begun meanwhile.
    const begun = this.#downloads.join(wanted);
    if (begun !== undefined) return { cache: { kind: 'joined' }, blob: await begun };
    const { blob, isStored } = await this.#downloads.begin(wanted);
    return { cache: { kind: 'miss', isStored, source: () => this.#options.sources?.servedBy(layer.digest) }, blob };
  }

  async #find(request: PackageRequest, layer: Descriptor): Promise<Source> {
    // A hit needs no registry, so the registry is looked up only when there may be a download to join.
    const early = this.#downloads.isArriving(layer) ? await this.#upstream(request) : undefined;
    // Asked in one turn, downloads and store leave no gap between "arriving" and "cached" in which a layer is neither.
    if (early !== undefined) {
      const download = this.#downloads.find(layer, early.registry);
      if (download !== undefined) return { kind: 'joined', download, upstream: early };
    }
    const blob = this.#options.store.info(layer.digest);
    if (blob?.size === layer.size) return { kind: 'hit', blob };
    const isDamaged = blob !== undefined;
    return { kind: 'download', upstream: early ?? (await this.#upstream(request)), isDamaged };
  }

  /** How a fetch would begin: gateway and store answer by the rules by which they would refuse it, so that `execute` need not ask. */
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

  /** The bytes of a layer from `start` on, resumed where they break off; each try takes the credentials of its moment. */
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

/** Not the error: its stack holds the download that did not begin, for as long as the client waits for its turn. */
function reasonToBypass(error: unknown): NoRoom | 'store-failed' {
  if (!isOneOf(error, 'STORE_FULL', 'STORE_FAILED')) throw error;
  return error instanceof StoreFullError ? error.reason : 'store-failed';
}
