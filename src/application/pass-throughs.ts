/** Layers that cannot be kept: one download for all clients that read at about the same place. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';
import { Proof } from '../domain/proof.ts';
import type { Registry } from '../domain/upstream.ts';
import type { DownloadSlots, Slot } from './download-slots.ts';
import { type JoinBody, PassThroughReader } from './pass-through-reader.ts';
import { type Position, SharedBody } from './shared-body.ts';

export interface PassedLayer {
  readonly layer: Descriptor;
  readonly registry: Registry;
  /** Opens the bytes from `offset` on. */
  readonly open: (offset: number, signal: AbortSignal) => Promise<AsyncIterable<Uint8Array>>;
  /** Aborted when the client leaves. */
  readonly leaving: AbortSignal;
}

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

  constructor(options: { readonly slots: DownloadSlots; readonly stopping: AbortSignal }) {
    this.#slots = options.slots;
    this.#stopping = options.stopping;
  }

  /** A reader of the layer. Rejects when the registry does not deliver it, or when there is no slot for a download. */
  open(passed: PassedLayer): Promise<BlobReader> {
    const { leaving } = passed;
    const join: JoinBody = async (before) => {
      leaving.throwIfAborted();
      const running = this.#find(passed, before) ?? this.#begin(passed, before);
      const position: Position = { next: before.bytes, isWaiting: false, isClosed: false, heldUpMs: 0 };
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
    return PassThroughReader.open(passed.layer.size, new Proof(passed.layer), join);
  }

  #find({ layer, registry }: PassedLayer, before: Proof): Running | undefined {
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

  #begin({ layer, registry, open }: PassedLayer, before: Proof): Running {
    const abandoned = new AbortController();
    const signal = AbortSignal.any([this.#stopping, abandoned.signal]);
    let slot: Slot | undefined;
    const body = new SharedBody({
      layer,
      before,
      open: async () => {
        slot = await this.#slots.acquire(registry, signal);
        return open(before.bytes, AbortSignal.any([signal, slot.revoked]));
      },
      onIdle: (isIdle) => slot?.setIdle(isIdle),
    });
    const running: Running = { layer, registry, body, abandoned };
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
