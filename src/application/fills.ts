/** Blobs on their way into the store: one fill per digest, which belongs to the process and not to whoever began it. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { Digest } from '../domain/digest.ts';
import type { PackageRequest } from '../domain/package.ts';
import type { BlobReader, BlobSource, IncomingBlob, PackageStore } from '../domain/ports/package-store.ts';
import type { Fill } from './inspection.ts';

/** A source that says how many bytes have come out of it by now. */
export type CountedSource = (onReceived: (bytes: number) => void) => ReturnType<BlobSource>;

interface Running {
  readonly request: PackageRequest;
  readonly layer: Descriptor;
  readonly startedAt: Date;
  readonly incoming: Promise<IncomingBlob>;
  bytes: number;
}

export class Fills {
  readonly #store: PackageStore;
  readonly #running = new Map<Digest, Running>();

  constructor(store: PackageStore) {
    this.#store = store;
  }

  /** A reader of the fill in progress, if there is one. Rejects with what keeps that fill from beginning. */
  join(digest: Digest): Promise<BlobReader> | undefined {
    return this.#running.get(digest)?.incoming.then(readNow);
  }

  /** Begins a fill, which nobody may have begun yet. Rejects as `PackageStore.ingest` does. */
  begin(request: PackageRequest, layer: Descriptor, source: CountedSource): Promise<BlobReader> {
    const onReceived = (bytes: number): void => {
      running.bytes = bytes;
    };
    const incoming = this.#store.ingest(layer, () => source(onReceived));
    const running: Running = { request, layer, startedAt: new Date(), incoming, bytes: 0 };
    this.#running.set(layer.digest, running);
    const end = (): void => {
      this.#running.delete(layer.digest);
    };
    void incoming.then(({ settled }) => settled).then(end, end);
    return incoming.then(readNow);
  }

  /** The oldest first. */
  list(): Fill[] {
    return this.#running
      .values()
      .map(({ request, layer, startedAt, bytes }) => ({ request, layer, startedAt, bytes }))
      .toArray();
  }
}

/** In the very turn in which the fill has begun: it needs the disk in order to settle, so it has not settled yet. */
function readNow(incoming: IncomingBlob): BlobReader {
  return incoming.read();
}
