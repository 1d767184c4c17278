/** Blobs on their way into the store: one fill per digest, which belongs to the process and not to whoever began it. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { Digest } from '../domain/digest.ts';
import type { BlobReader, BlobSource, IncomingBlob, PackageStore } from '../domain/ports/package-store.ts';

export class Fills {
  readonly #store: PackageStore;
  readonly #running = new Map<Digest, Promise<IncomingBlob>>();

  constructor(store: PackageStore) {
    this.#store = store;
  }

  /** A reader of the fill in progress, if there is one. Rejects with what keeps that fill from beginning. */
  join(digest: Digest): Promise<BlobReader> | undefined {
    return this.#running.get(digest)?.then(readNow);
  }

  /** Begins a fill, which nobody may have begun yet. Rejects as `PackageStore.ingest` does. */
  begin(blob: Descriptor, source: BlobSource): Promise<BlobReader> {
    const incoming = this.#store.ingest(blob, source);
    this.#running.set(blob.digest, incoming);
    const end = (): void => {
      this.#running.delete(blob.digest);
    };
    void incoming.then(({ settled }) => settled).then(end, end);
    return incoming.then(readNow);
  }
}

/** In the very turn in which the fill has begun: it needs the disk in order to settle, so it has not settled yet. */
function readNow(incoming: IncomingBlob): BlobReader {
  return incoming.read();
}
