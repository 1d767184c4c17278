/** A PackageStore without room, for a service with a disabled cache. */
import type {
  PackageStore,
  Reservation,
  StoredBlob,
  StoreInspection,
  StoreUsage,
} from '../../domain/ports/package-store.ts';
import { StoreFullError } from '../../domain/errors.ts';

export class NoPackageStore implements PackageStore, StoreInspection {
  readonly usage: StoreUsage = {
    bytes: 0,
    maxBytes: 0,
    limitBytes: 0,
    failures: {},
    entries: 0,
    evicted: 0,
    damaged: 0,
    scrubbedBytes: 0,
  };

  open(): Promise<StoredBlob | undefined> {
    return Promise.resolve(undefined);
  }

  reserve(): Promise<Reservation> {
    return Promise.reject(new StoreFullError('store-off'));
  }

  refusal(): Promise<'store-off'> {
    return Promise.resolve('store-off');
  }

  list(): never[] {
    return [];
  }

  info(): undefined {
    return undefined;
  }
}
