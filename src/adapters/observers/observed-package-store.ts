/** Tells observers of each blob that arrives in a PackageStore, without the store's knowing. */
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import type { BlobInfo, PackageStore, Reservation, SoughtBlob, StoredBlob } from '../../domain/ports/package-store.ts';

export type ArrivalEvent = { readonly blob: Descriptor } & (
  | { readonly kind: 'begun' }
  /** `error` is undefined of a blob that is cached now. */
  | { readonly kind: 'ended'; readonly seconds: number; readonly error: unknown }
);

export type ArrivalObserver = (event: ArrivalEvent) => void;

export class ObservedPackageStore implements PackageStore {
  readonly #store: PackageStore;
  readonly #observers: readonly ArrivalObserver[];

  constructor(store: PackageStore, observers: readonly ArrivalObserver[]) {
    this.#store = store;
    this.#observers = observers;
  }

  open(blob: SoughtBlob): Promise<StoredBlob | undefined> {
    return this.#store.open(blob);
  }

  info(digest: Digest): BlobInfo | undefined {
    return this.#store.info(digest);
  }

  canReserve(size: number): Promise<boolean> {
    return this.#store.canReserve(size);
  }

  async reserve(blob: Descriptor): Promise<Reservation> {
    const started = performance.now();
    const reservation = await this.#store.reserve(blob);
    return {
      abort: () => reservation.abort(),
      write: (chunks) => {
        const incoming = reservation.write(chunks);
        this.#tell({ kind: 'begun', blob });
        // The observers hear of the end in the asynchronous context of the request that began the arrival (ADR 17).
        const end = (error?: unknown): void => {
          this.#tell({ kind: 'ended', blob, seconds: (performance.now() - started) / 1000, error });
        };
        incoming.settled.then(() => {
          end();
        }, end);
        return incoming;
      },
    };
  }

  #tell(event: ArrivalEvent): void {
    for (const observe of this.#observers) observe(event);
  }
}
