/** Packages, as whole images, out of their registries into a layout that can be carried to where there is none. */
import type { Descriptor, Digest } from '../domain/descriptor.ts';
import type { PackageRequest } from '../domain/reference.ts';
import { below, type Upstream } from '../domain/upstream.ts';
import { eachPackage, type PackageFailure } from './each-package.ts';
import { openBlob } from './open-blob.ts';
import { patiently } from './patience.ts';
import { type Image, ResolveImage, type ResolveImageOptions } from './resolve-image.ts';
import { type FetchFrom, resumedDownload } from './resumed-download.ts';
import { Turns } from './turns.ts';
import { writeBlob } from './write-blob.ts';

export interface MirrorPackagesOptions extends ResolveImageOptions {
  /** Packages that are worked on at any moment. */
  readonly atATime: number;
  /** Hears of every piece that has arrived. */
  readonly onProgress: (progress: MirrorProgress) => void;
}

/** Packages and bytes until now. */
export interface MirrorProgress {
  readonly phase: 'manifests' | 'blobs';
  /** Whose manifests are here, so that what it takes is known. */
  readonly resolved: number;
  readonly mirrored: number;
  readonly failed: number;
  /** The bytes of all configs and layers of resolved images, each counted once. */
  readonly totalBytes: number;
  /** Those of them that are here. */
  readonly hereBytes: number;
  /** Those that were not here before, and those of failed tries. */
  readonly fetchedBytes: number;
}

interface Prepared<Request> {
  readonly request: Request;
  readonly image: Image;
}

export class MirrorPackages<Request extends PackageRequest> {
  readonly #options: MirrorPackagesOptions;
  readonly #resolve: ResolveImage;
  readonly #turns = new Turns<Digest>();
  /** How many bytes of each blob are in the layout. */
  readonly #bytes = new Map<Digest, number>();
  /** By digest and size: a manifest may be wrong about the size. */
  readonly #stored = new Set<string>();
  readonly #prepared: Prepared<Request>[] = [];
  readonly #counted = new Set<Digest>();
  readonly #failures: PackageFailure<Request>[] = [];
  #phase: MirrorProgress['phase'] = 'manifests';
  #totalBytes = 0;
  #hereBytes = 0;
  #fetchedBytes = 0;
  #mirrored = 0;

  constructor(options: MirrorPackagesOptions) {
    this.#options = options;
    this.#resolve = new ResolveImage(options);
  }

  get progress(): MirrorProgress {
    return {
      phase: this.#phase,
      resolved: this.#prepared.length,
      mirrored: this.#mirrored,
      failed: this.#failures.length,
      totalBytes: this.#totalBytes,
      hereBytes: this.#hereBytes,
      fetchedBytes: this.#fetchedBytes,
    };
  }

  /**
   * To be called once. Resolves with the packages that could not be had, which are no others' concern. Rejects with
   * StoreFailedError, or with the reason of `interrupted`; what is in the layout then is sound, and the next try goes on there.
   */
  async execute(requests: readonly Request[], interrupted: AbortSignal): Promise<readonly PackageFailure<Request>[]> {
    const asked = requests.map((request) => ({ request }));
    await this.#each(asked, interrupted, ({ request }, signal) => this.#prepare(request, signal));
    this.#phase = 'blobs';
    await this.#each(this.#prepared, interrupted, (prepared, signal) => this.#mirror(prepared, signal));
    return this.#failures;
  }

  #each<Item extends { readonly request: Request }>(
    items: readonly Item[],
    interrupted: AbortSignal,
    work: (item: Item, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    return eachPackage(items, {
      atATime: this.#options.atATime,
      interrupted,
      work: async (item, signal) => {
        await work(item, signal);
        this.#options.onProgress(this.progress);
      },
      onFailure: ({ request }, error) => {
        this.#failures.push({ request, error });
        this.#options.onProgress(this.progress);
      },
    });
  }

  async #prepare(request: Request, signal: AbortSignal): Promise<void> {
    const image = await this.#resolve.execute(request, signal);
    this.#prepared.push({ request, image });
    for (const { digest, size } of image.blobs) {
      if (!this.#counted.has(digest)) this.#totalBytes += size;
      this.#counted.add(digest);
    }
  }

  async #mirror({ request, image }: Prepared<Request>, signal: AbortSignal): Promise<void> {
    for (const blob of image.blobs) {
      signal.throwIfAborted();
      await this.#store(request, blob, signal);
    }
    signal.throwIfAborted();
    await this.#options.layout.list(image.descriptor);
    this.#mirrored++;
  }

  /** A blob that several images have is fetched once. When that fails, the next package tries: it may have another repository. */
  async #store(request: Request, blob: Descriptor, signal: AbortSignal): Promise<void> {
    const { digest, size } = blob;
    await this.#turns.take(digest, async () => {
      const key = `${digest} ${String(size)}`;
      if (this.#stored.has(key)) return;
      await writeBlob(this.#options.layout, blob, this.#download(request, blob, signal), signal, (here) => {
        this.#hereBytes += here - (this.#bytes.get(digest) ?? 0);
        this.#bytes.set(digest, here);
        this.#options.onProgress(this.progress);
      });
      this.#stored.add(key);
    });
  }

  /** The upstream is looked up for each try, so that no expired URL or token is used again. */
  #download({ repository, path }: Request, blob: Descriptor, signal: AbortSignal): FetchFrom {
    const { credentials, gateway } = this.#options;
    const resolve = async (): Promise<Upstream> => below(await credentials.resolve(repository), path);
    return async (start) => {
      const fetch: FetchFrom = (offset) =>
        patiently(() => openBlob(gateway, resolve, blob, start + offset, signal), signal);
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
