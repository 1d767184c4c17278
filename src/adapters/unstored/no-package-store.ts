/** A PackageStore that has no room for anything: for whoever switches the cache off. */
import { StoreFullError } from '../../domain/errors.ts';
import type { IncomingBlob, PackageStore, StoredBlob } from '../../domain/ports/package-store.ts';

export class NoPackageStore implements PackageStore {
  open(): Promise<StoredBlob | undefined> {
    return Promise.resolve(undefined);
  }

  ingest(): Promise<IncomingBlob> {
    return Promise.reject(new StoreFullError());
  }
}
