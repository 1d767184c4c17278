/** Logs how each download into the store ended: it may outlive every request that waited for it. */
import type { Logger } from 'pino';
import type { Descriptor } from '../domain/descriptor.ts';
import type { Digest } from '../domain/digest.ts';
import type {
  BlobInfo,
  BlobSource,
  IncomingBlob,
  PackageStore,
  SoughtBlob,
  StoredBlob,
} from '../domain/ports/package-store.ts';
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

  async ingest(descriptor: Descriptor, source: BlobSource): Promise<IncomingBlob> {
    const started = performance.now();
    const incoming = await this.#store.ingest(descriptor, source);
    const fields = { trace_id: traces.getStore()?.traceId, blob: descriptor.digest, bytes: descriptor.size };
    const duration = (): { duration_ms: number } => ({ duration_ms: Math.round(performance.now() - started) });
    incoming.settled.then(
      () => {
        this.#logger.info({ ...fields, ...duration() }, 'blob kept');
      },
      (err: unknown) => {
        this.#logger.warn({ ...fields, ...duration(), err }, 'blob not kept');
      },
    );
    return incoming;
  }
}
