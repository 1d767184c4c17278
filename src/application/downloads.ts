/** The running downloads of layers into the store. A download belongs to the process, not to the client that began it. */
import type { Descriptor, Digest } from '../domain/descriptor.ts';
import { StoreFailedError, StoreFullError, TooManyDownloadsError } from '../domain/errors.ts';
import type { PackageRequest } from '../domain/reference.ts';
import type { BlobReader, IncomingBlob, PackageStore, Reservation } from '../domain/ports/package-store.ts';
import type { Registry } from '../domain/upstream.ts';
import { DetachableSource, DownloadReader } from './detachable-source.ts';
import type { DownloadSlots, Slot } from './download-slots.ts';
import type { PassedLayer, PassThroughs } from './pass-throughs.ts';

/** A running download of a layer into the store. */
export interface Download {
  /** The request of the client that began it. */
  readonly request: PackageRequest;
  readonly layer: Descriptor;
  readonly startedAt: Date;
  /** The times at which the upstream began to answer and at which its last bytes arrived. */
  readonly source: { readonly openedAt: Date; readonly receivedAt: Date } | undefined;
  readonly bytes: number;
  /** The number of clients that wait for it or read it. */
  readonly clients: number;
  /** Whether it waits for a slot, because the limit of downloads is reached. */
  readonly isQueued: boolean;
}

export interface WantedLayer extends PassedLayer {
  readonly request: PackageRequest;
}

interface DownloadsOptions {
  readonly store: PackageStore;
  readonly slots: DownloadSlots;
  /** Continues a download that the store cannot write. */
  readonly passThroughs: PassThroughs;
  /** Aborted when the process stops. */
  readonly stopping: AbortSignal;
}

/** The reader of a client, and the state of its download. */
interface BegunDownload {
  readonly blob: BlobReader;
  /** Whether the layer is cached; while it arrives, whether the store has cached the last ended download. */
  readonly isStored: () => boolean;
}

export class Downloads {
  readonly #options: DownloadsOptions;
  readonly #running = new Map<Digest, RunningDownload[]>();
  /** Whether the store failed to cache the last ended download. */
  #isStoreFailing = false;

  constructor(options: DownloadsOptions) {
    this.#options = options;
  }

  /** Whether any registry is delivering this layer. It is cheap, because each hit calls it first. */
  isArriving({ digest }: Descriptor): boolean {
    return this.#running.has(digest);
  }

  /**
   * Returns the download that a request to this registry joins. It does not join a download from another registry, which may
   * be slow or send wrong bytes, of which clients would get the first before the verification. A request with another size,
   * which is a claim of its manifest, does not join either.
   */
  find({ digest, size }: Descriptor, registry: Registry): RunningDownload | undefined {
    return this.#running.get(digest)?.find((each) => each.layer.size === size && each.registry === registry);
  }

  /** Opens a reader of the running download, if there is one. Rejects with the error that prevents its beginning. */
  join(wanted: WantedLayer): Promise<BlobReader> | undefined {
    return this.find(wanted.layer, wanted.registry)?.join(wanted);
  }

  /** Begins a download and joins it. Rejects as `PackageStore.reserve` and `DownloadSlots.acquire` do. */
  async begin(wanted: WantedLayer): Promise<BegunDownload> {
    wanted.leaving.throwIfAborted();
    const { digest } = wanted.layer;
    const onEnd = (): void => {
      const others = this.#running.get(digest)?.filter((each) => each !== download) ?? [];
      if (others.length > 0) this.#running.set(digest, others);
      else this.#running.delete(digest);
    };
    const onStore = (works: boolean): void => {
      this.#isStoreFailing = !works;
    };
    // One gives way at a time, so that on a slow network most downloads still reach the store.
    const onFull = (): unknown => this.list().find((each) => each.source?.giveWay(each.clients > 0));
    const download: RunningDownload = new RunningDownload(wanted, this.#options, { onEnd, onStore, onFull });
    this.#running.set(digest, [...(this.#running.get(digest) ?? []), download]);
    return { blob: await download.join(wanted), isStored: () => download.isStored ?? !this.#isStoreFailing };
  }

  /** Returns all downloads, the oldest first. */
  list(): RunningDownload[] {
    const all = [...this.#running.values()].flat();
    return all.sort((a, b) => a.startedAt.getTime() - b.startedAt.getTime());
  }
}

interface DownloadEvents {
  /** Called when clients can no longer join. */
  readonly onEnd: () => void;
  /** Called when the store has cached the layer, or has failed. */
  readonly onStore: (works: boolean) => void;
  /** Called when the store has no room. */
  readonly onFull: () => unknown;
}

class RunningDownload implements Download {
  readonly request: PackageRequest;
  readonly layer: Descriptor;
  readonly registry: Registry;
  readonly startedAt = new Date();
  clients = 0;
  source: DetachableSource | undefined;
  /** Undefined while the layer arrives. */
  isStored: boolean | undefined;
  readonly #passThroughs: PassThroughs;
  readonly #incoming: Promise<IncomingBlob>;
  readonly #readers = new Set<DownloadReader>();
  readonly #unwanted = new AbortController();
  readonly #events: DownloadEvents;
  #slot: Slot | undefined;
  #handover: Promise<void> | undefined;

  constructor({ request, layer, registry, open }: WantedLayer, options: DownloadsOptions, events: DownloadEvents) {
    this.request = request;
    this.layer = layer;
    this.registry = registry;
    this.#passThroughs = options.passThroughs;
    this.#events = events;
    this.#incoming = this.#begin(open, options);
    this.#incoming.then(({ settled }) => settled).then(events.onEnd, events.onEnd);
  }

  get bytes(): number {
    return this.source?.bytes ?? 0;
  }

  get isQueued(): boolean {
    return this.#slot === undefined;
  }

  async join({ open, leaving }: WantedLayer): Promise<BlobReader> {
    const { layer, registry } = this;
    leaving.throwIfAborted();
    const leave = this.#enter();
    leaving.addEventListener('abort', leave);
    try {
      // The reader exists before the blob can settle, because settling needs the disk and this only a few microtasks.
      const stored = (await this.#incoming).read();
      const reader: DownloadReader = new DownloadReader({
        stored,
        openRest: (before) => this.#passThroughs.open({ layer, registry, open, leaving }, before),
        failed: () => this.#failed(),
        onClose: () => {
          this.#readers.delete(reader);
          leave();
        },
      });
      this.#readers.add(reader);
      if (!leaving.aborted) return reader;
      await reader.close();
      throw leaving.reason;
    } catch (error) {
      leave();
      throw leaving.aborted ? leaving.reason : error;
    } finally {
      leaving.removeEventListener('abort', leave);
    }
  }

  async #begin(open: WantedLayer['open'], { store, slots, stopping }: DownloadsOptions): Promise<IncomingBlob> {
    const slot = await slots.acquire(this.registry, AbortSignal.any([stopping, this.#unwanted.signal]));
    this.#slot = slot;
    slot.setIdle(this.clients === 0);
    slot.revoked.addEventListener('abort', this.#events.onEnd);
    const signal = AbortSignal.any([stopping, slot.revoked, this.#unwanted.signal]);
    let reservation: Reservation | undefined;
    try {
      reservation = await store.reserve(this.layer);
      const source = new DetachableSource(await open(0, signal), this.layer.size);
      this.source = source;
      const incoming = reservation.write(source);
      incoming.settled.then(
        () => {
          this.isStored = true;
          this.#events.onStore(true);
          slot.release();
        },
        (error: unknown) => {
          this.isStored = false;
          if (error instanceof StoreFailedError) this.#events.onStore(false);
          this.#handover = this.#handOver(error, incoming, source, slot);
        },
      );
      return incoming;
    } catch (error) {
      await reservation?.abort();
      slot.release();
      if (error instanceof StoreFullError && error.reason === 'store-full') this.#events.onFull();
      throw error;
    }
  }

  /** The store has failed, but clients still read: the rest of this download passes through, once for all of them. */
  async #handOver(error: unknown, incoming: IncomingBlob, source: DetachableSource, slot: Slot): Promise<void> {
    const { layer, registry } = this;
    const isOurs = error instanceof StoreFailedError && !source.hasEnded && this.clients > 0;
    const rest = isOurs ? await source.detach(incoming.read(), layer).catch(() => undefined) : undefined;
    if (rest === undefined || this.clients === 0) {
      await source.close().catch(() => undefined);
      slot.release();
      return;
    }
    const { before, chunks } = rest;
    const taken = this.#passThroughs.adopt({ layer, registry, before, chunks, slot, abandoned: this.#unwanted });
    await Promise.all([...this.#readers].map((reader) => reader.continueIn(before)));
    taken();
  }

  async #failed(): Promise<void> {
    // The store settles and rejects its readers in one turn; a single reader can fail, too.
    await new Promise((resolve) => setImmediate(resolve));
    await this.#handover;
  }

  /** Returns a function to call when the client leaves; further calls have no effect. */
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
      // A queued download without clients leaves the queue at once, because it has not cost anything yet.
      this.#events.onEnd();
      this.#unwanted.abort(new TooManyDownloadsError());
    };
  }
}
