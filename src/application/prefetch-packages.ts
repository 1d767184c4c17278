/** Fetches packages into a cache before the first request. */
import { StoreFailedError, StoreFullError } from '../domain/errors.ts';
import type { PackageCache } from '../domain/ports/package-cache.ts';
import type { PackageFailure, PackageRequest } from '../domain/reference.ts';
import { forEachConcurrently } from './concurrency/for-each-concurrently.ts';
import { retryWhileThrottled } from './concurrency/retry-while-throttled.ts';
import type { GetPackage } from './get-package.ts';

interface PrefetchOptions {
  readonly cache: PackageCache;
  /** The number of packages that are fetched at a time. */
  readonly concurrency: number;
  readonly interrupted: AbortSignal;
  /** Called for each piece and each package. */
  readonly onProgress: (progress: PrefetchProgress) => void;
}

/** The numbers of packages and bytes until now. */
export interface PrefetchProgress {
  readonly fetched: number;
  /** The number of packages that were cached already. */
  readonly hits: number;
  readonly failed: number;
  /** The bytes of all packages. */
  readonly bytes: number;
}

/** The package was fetched, but evicted before the end, or the disk failed. */
export class NotKeptError extends Error {
  override readonly name = 'NotKeptError';
  constructor() {
    super('is not in the cache any more, which may be too small for all of them');
  }
}

/**
 * Resolves with the packages that are not in the cache at the end. Rejects with StoreFailedError, or with the reason of
 * `interrupted`.
 */
export async function prefetchPackages<Request extends PackageRequest>(
  requests: readonly Request[],
  { cache, concurrency, interrupted, onProgress }: PrefetchOptions,
): Promise<readonly PackageFailure<Request>[]> {
  const failures: PackageFailure<Request>[] = [];
  const cached: Request[] = [];
  let [hits, bytes] = [0, 0];
  const report = (): void => {
    onProgress({ fetched: cached.length - hits, hits, failed: failures.length, bytes });
  };
  const forEach = (
    items: readonly Request[],
    work: (request: Request, signal: AbortSignal) => Promise<void>,
  ): Promise<void> =>
    forEachConcurrently(items, {
      concurrency,
      interrupted,
      work: async (request, signal) => {
        await work(request, signal);
        report();
      },
      onFailure: (request, error) => {
        failures.push({ request, error });
        report();
      },
    });
  const count = (piece: number): void => {
    bytes += piece;
    report();
  };
  await forEach(requests, async (request, signal) => {
    const isHit = await retryWhileThrottled(() => cache.fetch(request, count, signal), signal);
    cached.push(request);
    if (isHit) hits++;
  });
  await forEach(cached, async (request, signal) => {
    if (!(await cache.has(request, signal))) throw new NotKeptError();
  });
  return failures;
}

/** The cache of this process, which is filled as for a client of the service. */
export class LocalCache implements PackageCache {
  readonly #get: Pick<GetPackage, 'execute' | 'head'>;

  constructor(get: Pick<GetPackage, 'execute' | 'head'>) {
    this.#get = get;
  }

  async fetch(request: PackageRequest, onBytes: (bytes: number) => void, signal: AbortSignal): Promise<boolean> {
    const { cache, blob } = await this.#get.execute(request);
    try {
      // The bytes of a bypass are not cached.
      if (cache.kind === 'bypass')
        throw cache.reason === 'store-failed' ? new StoreFailedError() : new StoreFullError(cache.reason);
      for (let at = 0; ;) {
        signal.throwIfAborted();
        const { byteLength } = await blob.read(at);
        if (byteLength === 0) return cache.kind === 'hit';
        at += byteLength;
        onBytes(byteLength);
      }
    } finally {
      await blob.close();
    }
  }

  async has(request: PackageRequest): Promise<boolean> {
    return (await this.#get.head(request)).storedAt !== undefined;
  }
}
