/** Counts how the cache took part in each package, without the use case's knowing. */
import { Counter, type Registry } from 'prom-client';
import type { Delivery, GetPackage } from '../../application/get-package.ts';
import { DigestMismatchError } from '../../domain/errors.ts';
import type { PackageRequest } from '../../domain/reference.ts';
import type { BlobReader } from '../../domain/ports/package-store.ts';
import { CACHE_RESULTS } from './service-metrics.ts';

export class MeteredGetPackage implements Pick<GetPackage, 'execute'> {
  readonly #get: Pick<GetPackage, 'execute'>;
  readonly #results: Counter<'result'>;
  readonly #mismatches: Counter;

  constructor(get: Pick<GetPackage, 'execute'>, mismatches: Counter, registry: Registry) {
    this.#get = get;
    this.#mismatches = mismatches;
    this.#results = new Counter({
      name: 'registry_packages_proxy_cache_requests_total',
      help: 'Packages by how the cache took part: hit, miss (download begun), joined (download in progress), bypass.',
      labelNames: ['result'],
      registers: [registry],
    });
    for (const result of CACHE_RESULTS) this.#results.inc({ result }, 0);
  }

  async execute(request: PackageRequest, leaving?: AbortSignal): Promise<Delivery> {
    try {
      const delivery = await this.#get.execute(request, leaving);
      this.#results.inc({ result: delivery.cache.kind });
      return delivery.cache.kind === 'bypass' ? { ...delivery, blob: this.#watched(delivery.blob) } : delivery;
    } catch (error) {
      // A wrong manifest; wrong layers are seen where they arrive in the store.
      this.#count(error);
      throw error;
    }
  }

  /** A body that bypasses the store is verified while it is read. */
  #watched(blob: BlobReader): BlobReader {
    return {
      size: blob.size,
      close: () => blob.close(),
      read: async (offset) => {
        try {
          return await blob.read(offset);
        } catch (error) {
          this.#count(error);
          throw error;
        }
      },
    };
  }

  #count(error: unknown): void {
    if (error instanceof DigestMismatchError) this.#mismatches.inc();
  }
}
