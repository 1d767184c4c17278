/** Layers that cannot be kept: one download for all clients that read at about the same place. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';
import { Verifier } from '../domain/verifier.ts';
import type { Registry } from '../domain/upstream.ts';
import { BlockMemory } from './block-window.ts';
import type { DownloadSlots, Slot } from './download-slots.ts';
import { type JoinBody, PassThroughReader } from './pass-through-reader.ts';
import { type Position, SharedBody } from './shared-body.ts';

interface PassedLayer {
  readonly layer: Descriptor;
  readonly registry: Registry;
  /** Opens the bytes from `offset` on. */
  readonly open: (offset: number, signal: AbortSignal) => Promise<AsyncIterable<Uint8Array>>;
  /** Aborted when the client leaves. */
  readonly leaving: AbortSignal;
}

/** A download that began on its way into the store. */
interface AdoptedDownload {
  readonly layer: Descriptor;
  readonly registry: Registry;
  readonly before: Verifier;
  /** The bytes behind `before`. */
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly slot: Slot;
  /** Ends `chunks` when it is aborted, as it is when the last reader has left. */
  readonly abandoned: AbortController;
}

/** 2 MiB for the windows of all bodies, beside the first block of each: as many as 14 stalled ones fill. */
const BUDGET_BLOCKS = 32;

interface Running {
  readonly layer: Descriptor;
  readonly registry: Registry;
  readonly body: SharedBody;
  /** Aborted when the last reader has left. */
  readonly abandoned: AbortController;
}

export class PassThroughs {
  readonly #slots: DownloadSlots;
  readonly #stopping: AbortSignal;
  readonly #running = new Set<Running>();
  readonly #memory = new BlockMemory(BUDGET_BLOCKS);

  constructor(options: { readonly slots: DownloadSlots; readonly stopping: AbortSignal }) {
    this.#slots = options.slots;
    this.#stopping = options.stopping;
  }

  /**
   * A reader of the layer behind the bytes of `before`. Rejects when the registry does not deliver it, or when there is no
   * slot for a download.
   */
  open(passed: PassedLayer, before = new Verifier(passed.layer)): Promise<BlobReader> {
    const { leaving } = passed;
    const join: JoinBody = async (seen) => {
      leaving.throwIfAborted();
      const running = this.#find(passed, seen) ?? this.#begin(passed, seen);
      const position: Position = { next: seen.bytes, isWaiting: false, isClosed: false, heldUpMs: 0 };
      running.body.enter(position);
      const leave = (): void => {
        this.#leave(running, position);
      };
      leaving.addEventListener('abort', leave);
      try {
        await running.body.opened;
        leaving.throwIfAborted();
        return { body: running.body, position, leave };
      } catch (error) {
        leave();
        throw leaving.aborted ? leaving.reason : error;
      } finally {
        leaving.removeEventListener('abort', leave);
      }
    };
    return PassThroughReader.open(passed.layer.size, before, join);
  }

  /** Whether a client that begins now reads from a download that runs. */
  serves(layer: PassedLayer['layer'], registry: Registry): boolean {
    return this.#find({ layer, registry }, new Verifier(layer)) !== undefined;
  }

  /** Lets a download go on from which readers that have seen `before` can read. It ends without readers once this is called. */
  adopt({ layer, registry, before, chunks, slot, abandoned }: AdoptedDownload): () => void {
    const run = (): Promise<AsyncIterable<Uint8Array>> => Promise.resolve(chunks);
    const running = this.#run({ layer, registry, abandoned }, before, () => Promise.resolve(slot), run);
    // It waits for no bytes, so it holds nothing up.
    const position: Position = { next: Infinity, isWaiting: false, isClosed: false, heldUpMs: 0 };
    running.body.enter(position);
    return () => {
      this.#leave(running, position);
    };
  }

  #find({ layer, registry }: Pick<PassedLayer, 'layer' | 'registry'>, before: Verifier): Running | undefined {
    return this.#running
      .values()
      .find(
        (each) =>
          each.layer.digest === layer.digest &&
          each.layer.size === layer.size &&
          each.registry === registry &&
          each.body.serves(before),
      );
  }

  #begin({ layer, registry, open }: PassedLayer, before: Verifier): Running {
    const abandoned = new AbortController();
    const signal = AbortSignal.any([this.#stopping, abandoned.signal]);
    return this.#run(
      { layer, registry, abandoned },
      before,
      () => this.#slots.acquire(registry, signal),
      ({ revoked }) => open(before.bytes, AbortSignal.any([signal, revoked])),
    );
  }

  #run(
    download: Omit<Running, 'body'>,
    before: Verifier,
    acquire: () => Promise<Slot>,
    open: (slot: Slot) => Promise<AsyncIterable<Uint8Array>>,
  ): Running {
    let slot: Slot | undefined;
    const body = new SharedBody({
      layer: download.layer,
      before,
      open: async () => {
        slot = await acquire();
        return open(slot);
      },
      onIdle: (isIdle) => slot?.setIdle(isIdle),
      memory: this.#memory,
    });
    const running: Running = { ...download, body };
    this.#running.add(running);
    void body.ended.then(() => slot?.release());
    return running;
  }

  #leave(running: Running, position: Position): void {
    if (!running.body.leave(position)) return;
    this.#running.delete(running);
    running.abandoned.abort();
  }
}
