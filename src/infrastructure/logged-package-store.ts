/** Logs how each download into the store ended: it may outlive every request that waited for it. */
import type { Logger } from 'pino';
import type { Descriptor } from '../domain/descriptor.ts';
import type { Digest } from '../domain/digest.ts';
import type { BlobInfo, PackageStore, Reservation, SoughtBlob, StoredBlob } from '../domain/ports/package-store.ts';
import { traces } from './traces.ts';

export class LoggedPackageStore implements PackageStore {
  readonly #store: PackageStore;
  readonly #logger: Logger;

  constructor(store: PackageStore, logger: Logger) {
    this.#store = store;
    this.#logger = logger;
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

  async reserve(descriptor: Descriptor): Promise<Reservation> {
    const started = performance.now();
    const reservation = await this.#store.reserve(descriptor);
    return {
      abort: () => reservation.abort(),
      write: (chunks) => {
        const incoming = reservation.write(chunks);
        this.#log(descriptor, incoming.settled, started);
        return incoming;
      },
    };
  }

  #log({ digest, size }: Descriptor, settled: Promise<void>, started: number): void {
    const fields = { trace_id: traces.getStore()?.traceId, blob: digest, bytes: size };
    const duration = (): { duration_ms: number } => ({ duration_ms: Math.round(performance.now() - started) });
    settled.then(
      () => {
        this.#logger.info({ ...fields, ...duration() }, 'blob kept');
      },
      (err: unknown) => {
        this.#logger.warn({ ...fields, ...duration(), err }, 'blob not kept');
      },
    );
  }
}
