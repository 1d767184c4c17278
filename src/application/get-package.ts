/** The one thing that this service does: a package, out of the store or through it. */
import type { Descriptor } from '../domain/descriptor.ts';
import { isOneOf } from '../domain/errors.ts';
import type { Package, PackageRequest } from '../domain/package.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import type { BlobReader, BlobSource, PackageStore } from '../domain/ports/package-store.ts';
import type { RegistryGateway } from '../domain/ports/registry-gateway.ts';
import { below, type Upstream } from '../domain/upstream.ts';
import { Fills } from './fills.ts';
import type { Fill, FillInspection } from './inspection.ts';
import { HealedReader } from './healed-reader.ts';
import { openBlob } from './open-blob.ts';
import { PassThrough } from './pass-through.ts';
import type { ResolvePackage } from './resolve-package.ts';
import { resumedDownload } from './resumed-download.ts';

/** How the store took part. */
export type CacheOutcome =
  | { readonly kind: 'hit'; readonly storedAt: Date }
  /** This request began the download, which is kept. */
  | { readonly kind: 'miss' }
  /** Another request had begun it. */
  | { readonly kind: 'joined' }
  /** Straight from the upstream and not kept. */
  | { readonly kind: 'bypass'; readonly reason: 'STORE_FULL' | 'STORE_FAILED' };

export interface Delivery {
  readonly package: Package;
  readonly cache: CacheOutcome;
  /** To be closed by whoever asked. */
  readonly blob: BlobReader;
}

export interface GetPackageOptions {
  readonly resolve: ResolvePackage;
  readonly store: PackageStore;
  readonly gateway: RegistryGateway;
  readonly credentials: CredentialProvider;
  /** Aborted when the process stops: the one thing that ends a download which nobody waits for any more. */
  readonly stopping: AbortSignal;
}

export class GetPackage implements FillInspection {
  readonly #options: GetPackageOptions;
  readonly #fills: Fills;

  constructor(options: GetPackageOptions) {
    this.#options = options;
    this.#fills = new Fills(options.store);
  }

  /** Rejects with a PackageError as long as nothing of the package can be had. */
  async execute(request: PackageRequest): Promise<Delivery> {
    const found = await this.#options.resolve.execute(request);
    const passThrough = (): Promise<BlobReader> => this.#passThrough(request, found.layer);
    try {
      const { cache, blob } = await this.#open(request, found.layer);
      return { package: found, cache, blob: new HealedReader(blob, passThrough, cache.kind === 'hit') };
    } catch (error) {
      if (!isOneOf(error, 'STORE_FULL', 'STORE_FAILED')) throw error;
      return { package: found, cache: { kind: 'bypass', reason: error.code }, blob: await passThrough() };
    }
  }

  fills(): Fill[] {
    return this.#fills.list();
  }

  async #open(request: PackageRequest, layer: Descriptor): Promise<Pick<Delivery, 'cache' | 'blob'>> {
    // Asked for in one turn, fill and store leave no gap between "arriving" and "kept" in which a layer is neither.
    const joined = this.#fills.join(layer.digest);
    if (joined !== undefined) return { cache: { kind: 'joined' }, blob: await joined };
    const stored = await this.#options.store.open(layer);
    if (stored !== undefined) return { cache: { kind: 'hit', storedAt: stored.storedAt }, blob: stored };
    // Meanwhile somebody else may have begun.
    const begun = this.#fills.join(layer.digest);
    if (begun !== undefined) return { cache: { kind: 'joined' }, blob: await begun };
    return {
      cache: { kind: 'miss' },
      blob: await this.#fills.begin(request, layer, (onReceived) =>
        this.#download(request, layer, this.#options.stopping, onReceived),
      ),
    };
  }

  async #passThrough(request: PackageRequest, layer: Descriptor): Promise<BlobReader> {
    const leaving = new AbortController();
    const signal = AbortSignal.any([this.#options.stopping, leaving.signal]);
    return new PassThrough(layer, await this.#download(request, layer, signal), () => {
      leaving.abort();
    });
  }

  /** The bytes of a layer, whose download survives what breaks it off; the upstream is looked up for each try. */
  #download(
    { repository, path }: PackageRequest,
    layer: Descriptor,
    signal: AbortSignal,
    onReceived?: (bytes: number) => void,
  ): ReturnType<BlobSource> {
    const { credentials, gateway } = this.#options;
    const resolve = async (): Promise<Upstream> => below(await credentials.resolve(repository), path);
    const fetch = (offset: number): ReturnType<BlobSource> => openBlob(gateway, resolve, layer, offset, signal);
    return resumedDownload(layer.size, fetch, onReceived);
  }
}
