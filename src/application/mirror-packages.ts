/** Copies packages as whole images from their registries into a layout, for a site without a registry. */
import type { Descriptor, Digest } from '../domain/descriptor.ts';
import type { Platform } from '../domain/index-entry.ts';
import { type Index, type Manifest, packageLayer, parseManifest } from '../domain/manifest.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import type { ImageLayout } from '../domain/ports/image-layout.ts';
import type { RegistryGateway } from '../domain/ports/registry-gateway.ts';
import type { PackageFailure, PackageRequest } from '../domain/reference.ts';
import { forEachConcurrently } from './concurrency/for-each-concurrently.ts';
import { KeyedMutex } from './concurrency/keyed-mutex.ts';
import { retryWhileThrottled } from './concurrency/retry-while-throttled.ts';
import { allManifests, fetchManifest, platformManifest, upstreamOf } from './manifests.ts';
import { type FetchFrom, once, openBlob, resumedDownload } from './resumed-download.ts';
import { writeBlob } from './write-blob.ts';

export interface MirrorOptions {
  readonly gateway: RegistryGateway;
  readonly credentials: CredentialProvider;
  readonly layout: ImageLayout;
  /** The platforms whose images are copied from an index; a package without one of them fails. */
  readonly platforms: readonly Platform[] | 'all';
  /** The number of packages that are copied at a time. */
  readonly concurrency: number;
  readonly interrupted: AbortSignal;
  /** Called for each piece that arrives, and for each package. */
  readonly onProgress: (progress: MirrorProgress) => void;
}

/** The numbers of packages and bytes until now. */
export interface MirrorProgress {
  readonly phase: 'manifests' | 'blobs';
  /** The number of packages whose manifests are here, so that the sizes of their blobs are known. */
  readonly resolved: number;
  readonly mirrored: number;
  readonly failed: number;
  /** The bytes of all configs and layers of resolved images, each counted once. */
  readonly totalBytes: number;
  /** The bytes of them that are in the layout. */
  readonly hereBytes: number;
  /** The downloaded bytes, including those of failed attempts. */
  readonly fetchedBytes: number;
}

/**
 * Resolves with the packages that could not be copied; they do not affect others. Rejects with StoreFailedError, or with the
 * reason of `interrupted`; then the layout is valid, and the next run continues it.
 */
export function mirrorPackages<Request extends PackageRequest>(
  requests: readonly Request[],
  options: MirrorOptions,
): Promise<readonly PackageFailure<Request>[]> {
  return new Mirror<Request>(options).run(requests);
}

interface Image {
  /** The descriptor of the requested manifest or index. */
  readonly descriptor: Descriptor;
  /** The config and the layers. */
  readonly blobs: readonly Descriptor[];
}

/** A manifest in the layout. */
interface LaidOut {
  readonly document: Manifest | Index;
  /** Bytes. */
  readonly size: number;
}

class Mirror<Request extends PackageRequest> {
  readonly #options: MirrorOptions;
  readonly #manifests = new KeyedMutex<Digest>();
  readonly #blobs = new KeyedMutex<Digest>();
  /** The number of bytes of each blob in the layout. */
  readonly #bytes = new Map<Digest, number>();
  /** Keyed by digest and size, because a manifest may have a wrong size. */
  readonly #stored = new Set<string>();
  readonly #resolved: { readonly request: Request; readonly image: Image }[] = [];
  readonly #counted = new Set<Digest>();
  readonly #failures: PackageFailure<Request>[] = [];
  #phase: MirrorProgress['phase'] = 'manifests';
  #totalBytes = 0;
  #hereBytes = 0;
  #fetchedBytes = 0;
  #mirrored = 0;

  constructor(options: MirrorOptions) {
    this.#options = options;
  }

  async run(requests: readonly Request[]): Promise<readonly PackageFailure<Request>[]> {
    const asked = requests.map((request) => ({ request }));
    await this.#each(asked, ({ request }, signal) => this.#resolve(request, signal));
    this.#phase = 'blobs';
    await this.#each(this.#resolved, ({ request, image }, signal) => this.#mirror(request, image, signal));
    return this.#failures;
  }

  #each<Item extends { readonly request: Request }>(
    items: readonly Item[],
    work: (item: Item, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const { concurrency, interrupted } = this.#options;
    return forEachConcurrently(items, {
      concurrency,
      interrupted,
      work: async (item, signal) => {
        await work(item, signal);
        this.#report();
      },
      onFailure: ({ request }, error) => {
        this.#failures.push({ request, error });
        this.#report();
      },
    });
  }

  #report(): void {
    this.#options.onProgress({
      phase: this.#phase,
      resolved: this.#resolved.length,
      mirrored: this.#mirrored,
      failed: this.#failures.length,
      totalBytes: this.#totalBytes,
      hereBytes: this.#hereBytes,
      fetchedBytes: this.#fetchedBytes,
    });
  }

  /** Finds all blobs of the requested image; afterwards its manifests are in the layout. */
  async #resolve(request: Request, signal: AbortSignal): Promise<void> {
    const { document, size } = await this.#manifest(request, request.digest, signal);
    const find = async (digest: Digest): Promise<Manifest | Index> =>
      (await this.#manifest(request, digest, signal)).document;
    const manifests = document.kind === 'manifest' ? [document] : await this.#choose(document, find);
    const blobs = manifests.flatMap(({ config, layers }) => (config === undefined ? layers : [config, ...layers]));
    const descriptor = { mediaType: document.mediaType, digest: request.digest, size };
    this.#resolved.push({ request, image: { descriptor, blobs } });
    for (const blob of blobs) {
      if (!this.#counted.has(blob.digest)) this.#totalBytes += blob.size;
      this.#counted.add(blob.digest);
    }
  }

  async #choose(index: Index, find: (digest: Digest) => Promise<Manifest | Index>): Promise<Manifest[]> {
    const { platforms } = this.#options;
    if (platforms === 'all') return allManifests(index, find);
    const manifests: Manifest[] = [];
    for (const platform of platforms) manifests.push(await platformManifest<never>(index, platform, find));
    return manifests;
  }

  /** Reads the manifest from the layout, else from the registry, so that a manifest of two packages is fetched once. */
  #manifest(request: Request, digest: Digest, signal: AbortSignal): Promise<LaidOut> {
    const { gateway, credentials, layout } = this.#options;
    return this.#manifests.runExclusive(digest, async () => {
      const here = await layout.readManifest(digest);
      if (here !== undefined) return { document: asPackage(parseManifest(here)), size: here.byteLength };
      const fetch = async () => fetchManifest(gateway, await upstreamOf(request, credentials), digest, signal);
      const { document, bytes } = await retryWhileThrottled(fetch, signal);
      const descriptor = { mediaType: asPackage(document).mediaType, digest, size: bytes.byteLength };
      await writeBlob(layout, descriptor, (offset) => Promise.resolve(once(bytes.subarray(offset))), signal);
      return { document, size: bytes.byteLength };
    });
  }

  async #mirror(request: Request, image: Image, signal: AbortSignal): Promise<void> {
    for (const blob of image.blobs) {
      signal.throwIfAborted();
      await this.#store(request, blob, signal);
    }
    signal.throwIfAborted();
    await this.#options.layout.list(image.descriptor);
    this.#mirrored++;
  }

  /** A blob of several images is fetched once. If that fails, the next package tries again: it may have another repository. */
  async #store(request: Request, blob: Descriptor, signal: AbortSignal): Promise<void> {
    const { digest, size } = blob;
    await this.#blobs.runExclusive(digest, async () => {
      const key = `${digest} ${String(size)}`;
      if (this.#stored.has(key)) return;
      await writeBlob(this.#options.layout, blob, this.#download(request, blob, signal), signal, (here) => {
        this.#hereBytes += here - (this.#bytes.get(digest) ?? 0);
        this.#bytes.set(digest, here);
        this.#report();
      });
      this.#stored.add(key);
    });
  }

  /** Resolves the upstream for each attempt, so that no expired URL or token is used again. */
  #download(request: Request, blob: Descriptor, signal: AbortSignal): FetchFrom {
    const { credentials, gateway } = this.#options;
    const upstream = () => upstreamOf(request, credentials);
    return async (start) => {
      const fetch: FetchFrom = (offset) =>
        retryWhileThrottled(() => openBlob(gateway, upstream, blob, start + offset, signal), signal);
      return this.#countFetched(await resumedDownload(blob.size - start, fetch));
    };
  }

  async *#countFetched(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      this.#fetchedBytes += chunk.byteLength;
      yield chunk;
    }
  }
}

/** Refuses an image without layers, which the service could not serve. */
function asPackage<Document extends Manifest | Index>(document: Document): Document {
  if (document.kind === 'manifest') packageLayer(document);
  return document;
}
