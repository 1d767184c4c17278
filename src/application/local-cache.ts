/** The cache of this process as one that can be filled: what the service does for a client, without one. */
import { StoreFailedError, StoreFullError } from '../domain/errors.ts';
import type { PackageRequest } from '../domain/reference.ts';
import type { DescribePackage } from './describe-package.ts';
import type { GetPackage } from './get-package.ts';
import type { PackageCache } from './prefetch-packages.ts';

export class LocalCache implements PackageCache {
  readonly #get: Pick<GetPackage, 'execute'>;
  readonly #describe: DescribePackage;

  constructor(useCases: { readonly get: Pick<GetPackage, 'execute'>; readonly describe: DescribePackage }) {
    this.#get = useCases.get;
    this.#describe = useCases.describe;
  }

  async fetch(request: PackageRequest, onBytes: (bytes: number) => void, signal: AbortSignal): Promise<boolean> {
    const { cache, blob } = await this.#get.execute(request);
    try {
      // Not for the sake of the bytes, which would be in no cache.
      if (cache.kind === 'bypass') throw cache.reason === 'STORE_FULL' ? new StoreFullError() : new StoreFailedError();
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
    return (await this.#describe.execute(request)).storedAt !== undefined;
  }
}
