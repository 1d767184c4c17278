/** Layers that cannot be cached: one download for all clients that read at about the same offset. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';
import { Verifier } from '../domain/verifier.ts';
import type { Registry } from '../domain/upstream.ts';
import { BlockMemory } from './block-window.ts';
import type { DownloadSlots, Slot } from './download-slots.ts';
import { type JoinBody, PassThroughReader } from './pass-through-reader.ts';
import { type Position, SharedBody } from './shared-body.ts';

/** The layer that a client requests, and its source for this client. */
export interface PassedLayer {
  readonly layer: Descriptor;
  /** Compared by identity: one object is one registry with one credential. */
  readonly registry: Registry;
  /** Opens the bytes from `offset` on. */
  readonly open: (offset: number, signal: AbortSignal) => Promise<AsyncIterable<Uint8Array>>;
  /** Aborted when the client leaves. */
  readonly leaving: AbortSignal;
}

/** A download that began as a download into the store. */
interface AdoptedDownload {
  readonly layer: Descriptor;
  readonly registry: Registry;
  readonly before: Verifier;
  /** The bytes after `before`. */
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly slot: Slot;
  /** Aborted when the last reader has left; ends `chunks`. */
  readonly abandoned: AbortController;
}

/** 2 MiB for the windows of all bodies, in addition to the first block of each. */
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
   * Opens a reader of the layer after the bytes of `before`. Rejects if the registry does not deliver it, or if there is no
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

  /** Whether a new client would join a running download. */
  serves(layer: PassedLayer['layer'], registry: Registry): boolean {
    return this.#find({ layer, registry }, new Verifier(layer)) !== undefined;
  }

  /** Continues a download for readers that have the bytes of `before`. It ends without readers after a call of the result. */
  adopt({ layer, registry, before, chunks, slot, abandoned }: AdoptedDownload): () => void {
    const run = (): Promise<AsyncIterable<Uint8Array>> => Promise.resolve(chunks);
    const running = this.#run({ layer, registry, abandoned }, before, () => Promise.resolve(slot), run);
    // This position waits for no bytes, so it delays no other reader.
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
