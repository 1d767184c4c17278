/** Fetches packages into a cache before the first request. */
import type { PackageRequest } from '../domain/reference.ts';
import { eachPackage, type PackageFailure } from './each-package.ts';
import { patiently } from './patience.ts';

/** A cache, here or of a service that runs somewhere. */
export interface PackageCache {
  /** Brings all of a package there, proved; `onBytes` hears how many bytes each piece has. Resolves with whether it was there. */
  fetch(request: PackageRequest, onBytes: (bytes: number) => void, signal: AbortSignal): Promise<boolean>;
  has(request: PackageRequest, signal: AbortSignal): Promise<boolean>;
}

export interface PrefetchPackagesOptions {
  readonly cache: PackageCache;
  /** At any moment. */
  readonly atATime: number;
  readonly onProgress: (progress: PrefetchProgress) => void;
}

/** Packages and bytes until now. */
export interface PrefetchProgress {
  readonly fetched: number;
  /** Were in the cache already. */
  readonly hits: number;
  readonly failed: number;
  /** The bytes of all packages. */
  readonly bytes: number;
}

/** It was fetched, but before all were it made room for another, or the disk failed. */
export class NotKeptError extends Error {
  override readonly name = 'NotKeptError';
  constructor() {
    super('is not in the cache any more, which may be too small for all of them');
  }
}

export class PrefetchPackages<Request extends PackageRequest> {
  readonly #options: PrefetchPackagesOptions;
  readonly #failures: PackageFailure<Request>[] = [];
  readonly #here: Request[] = [];
  #hits = 0;
  #bytes = 0;

  constructor(options: PrefetchPackagesOptions) {
    this.#options = options;
  }

  get progress(): PrefetchProgress {
    return {
      fetched: this.#here.length - this.#hits,
      hits: this.#hits,
      failed: this.#failures.length,
      bytes: this.#bytes,
    };
  }

  /**
   * To be called once. Resolves with the packages that are not in the cache at the end. Rejects with StoreFailedError, or with
   * the reason of `interrupted`.
   */
  async execute(requests: readonly Request[], interrupted: AbortSignal): Promise<readonly PackageFailure<Request>[]> {
    const { cache } = this.#options;
    await this.#each(requests, interrupted, async (request, signal) => {
      const isHit = await patiently(() => cache.fetch(request, this.#count, signal), signal);
      this.#here.push(request);
      if (isHit) this.#hits++;
    });
    await this.#each(this.#here, interrupted, async (request, signal) => {
      if (!(await cache.has(request, signal))) throw new NotKeptError();
    });
    return this.#failures;
  }

  readonly #count = (bytes: number): void => {
    this.#bytes += bytes;
    this.#options.onProgress(this.progress);
  };

  #each(
    requests: readonly Request[],
    interrupted: AbortSignal,
    work: (request: Request, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    return eachPackage(requests, {
      atATime: this.#options.atATime,
      interrupted,
      work: async (request, signal) => {
        await work(request, signal);
        this.#options.onProgress(this.progress);
      },
      onFailure: (request, error) => {
        this.#failures.push({ request, error });
        this.#options.onProgress(this.progress);
      },
    });
  }
}
