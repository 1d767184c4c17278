/** Layers on their way into the store. A download belongs to the process, not to the client that began it. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { Digest } from '../domain/digest.ts';
import { TooManyDownloadsError } from '../domain/errors.ts';
import type { PackageRequest } from '../domain/package.ts';
import type { BlobReader, IncomingBlob, PackageStore } from '../domain/ports/package-store.ts';
import type { Registry } from '../domain/upstream.ts';
import type { DownloadSlots, Slot } from './download-slots.ts';
import type { Download } from './inspection.ts';

/** Opens the bytes of a layer; `onReceived` gets the number of bytes received so far. */
export type DownloadSource = (
  onReceived: (bytes: number) => void,
  signal: AbortSignal,
) => Promise<AsyncIterable<Uint8Array>>;

/** A layer as one client wants it, and where this client would download it from. */
export interface WantedLayer {
  readonly request: PackageRequest;
  readonly layer: Descriptor;
  /** Compared by identity: one object is one registry with one credential. */
  readonly registry: Registry;
  readonly source: DownloadSource;
  /** Aborted when the client leaves. */
  readonly leaving: AbortSignal;
}

export interface DownloadsOptions {
  readonly store: PackageStore;
  readonly slots: DownloadSlots;
  /** Aborted when the process stops. */
  readonly stopping: AbortSignal;
}

export class Downloads {
  readonly #options: DownloadsOptions;
  readonly #running = new Map<Digest, RunningDownload[]>();

  constructor(options: DownloadsOptions) {
    this.#options = options;
  }

  /** Whether any registry is delivering this layer. Cheap, because each hit asks it first. */
  isArriving({ digest }: Descriptor): boolean {
    return this.#running.has(digest);
  }

  /**
   * The download that a request to this registry joins. A download from another registry is not joined: it may be slow,
   * or bring wrong bytes, which clients would see before they are verified. The size is a claim of the manifest, so a
   * manifest with another size does not join either.
   */
  find({ digest, size }: Descriptor, registry: Registry): Download | undefined {
    return this.#running.get(digest)?.find((each) => each.layer.size === size && each.registry === registry);
  }

  /** A reader of the download in progress, if there is one. Rejects with the error that keeps it from beginning. */
  join({ layer, registry, leaving }: WantedLayer): Promise<BlobReader> | undefined {
    const running = this.#running.get(layer.digest);
    return running?.find((each) => each.layer.size === layer.size && each.registry === registry)?.join(leaving);
  }

  /** Begins a download and joins it. Rejects as `PackageStore.ingest` and `DownloadSlots.acquire` do. */
  async begin(wanted: WantedLayer): Promise<BlobReader> {
    wanted.leaving.throwIfAborted();
    const { digest } = wanted.layer;
    const download = new RunningDownload(wanted, this.#options, () => {
      const others = this.#running.get(digest)?.filter((each) => each !== download) ?? [];
      if (others.length > 0) this.#running.set(digest, others);
      else this.#running.delete(digest);
    });
    this.#running.set(digest, [...(this.#running.get(digest) ?? []), download]);
    return download.join(wanted.leaving);
  }

  /** The oldest first. */
  list(): Download[] {
    const all = [...this.#running.values()].flat();
    return all.sort((a, b) => a.startedAt.getTime() - b.startedAt.getTime());
  }
}

class RunningDownload implements Download {
  readonly request: PackageRequest;
  readonly layer: Descriptor;
  readonly registry: Registry;
  readonly startedAt = new Date();
  bytes = 0;
  clients = 0;
  readonly #incoming: Promise<IncomingBlob>;
  readonly #unwanted = new AbortController();
  readonly #onEnd: () => void;
  #slot: Slot | undefined;

  /** `onEnd` is called when no client can join any more. */
  constructor({ request, layer, registry, source }: WantedLayer, options: DownloadsOptions, onEnd: () => void) {
    this.request = request;
    this.layer = layer;
    this.registry = registry;
    this.#onEnd = onEnd;
    this.#incoming = this.#begin(source, options);
    this.#incoming.then(({ settled }) => settled).then(onEnd, onEnd);
  }

  get isQueued(): boolean {
    return this.#slot === undefined;
  }

  async join(leaving: AbortSignal): Promise<BlobReader> {
    leaving.throwIfAborted();
    const leave = this.#enter();
    leaving.addEventListener('abort', leave);
    try {
      // A reader exists before the blob can settle: settling needs the disk, and this a few microtasks.
      const reader = (await this.#incoming).read();
      if (!leaving.aborted) return withClose(reader, leave);
      await reader.close();
      throw leaving.reason;
    } catch (error) {
      leave();
      throw leaving.aborted ? leaving.reason : error;
    } finally {
      leaving.removeEventListener('abort', leave);
    }
  }

  async #begin(source: DownloadSource, { store, slots, stopping }: DownloadsOptions): Promise<IncomingBlob> {
    const slot = await slots.acquire(this.registry, AbortSignal.any([stopping, this.#unwanted.signal]));
    this.#slot = slot;
    slot.setIdle(this.clients === 0);
    slot.revoked.addEventListener('abort', this.#onEnd);
    const onReceived = (bytes: number): void => {
      this.bytes = bytes;
    };
    const release = (): void => {
      slot.release();
    };
    try {
      const signal = AbortSignal.any([stopping, slot.revoked]);
      const incoming = await store.ingest(this.layer, () => source(onReceived, signal));
      incoming.settled.then(release, release);
      return incoming;
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Returns what to call when the client leaves; calls after the first have no effect. */
  #enter(): () => void {
    let isHere = true;
    this.clients++;
    this.#slot?.setIdle(false);
    return () => {
      if (!isHere) return;
      isHere = false;
      if (--this.clients > 0) return;
      this.#slot?.setIdle(true);
      if (this.#slot !== undefined) return;
      // A queued download without clients leaves the queue at once: nothing of it has been paid for.
      this.#onEnd();
      this.#unwanted.abort(new TooManyDownloadsError());
    };
  }
}

function withClose(reader: BlobReader, onClose: () => void): BlobReader {
  return {
    size: reader.size,
    read: (offset) => reader.read(offset),
    close: () => {
      onClose();
      return reader.close();
    },
  };
}
