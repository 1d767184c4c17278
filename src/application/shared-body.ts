/** One download that is not cached and that several clients read: a window of blocks in memory, verified meanwhile. */
import type { Descriptor } from '../domain/descriptor.ts';
import { presentable, type Verifier } from '../domain/verifier.ts';
import { Block, BLOCK_BYTES, type BlockMemory, BlockWindow } from './block-window.ts';

/** The source is read at most this far ahead of the fastest reader, so a body without an active reader holds no more. */
const AHEAD_BYTES = 2 * BLOCK_BYTES;
/** Readers below this rate may delay others for a second in total; then the window moves on without them. */
const FLOOR_BYTES_PER_MS = 1024;
const MAX_HOLD_UP_MS = 1000;
const TICK_MS = 50;
/** The first block stays for this time, so that clients that come at about the same time share one download. */
const LINGER_MS = 250;

/** The position of one reader. */
export interface Position {
  /** The start of its next block; Infinity if it waits only for the end of the verification. */
  next: number;
  isWaiting: boolean;
  isClosed: boolean;
  /** The time for which others have waited for it. */
  heldUpMs: number;
}

interface SharedBodyOptions {
  readonly layer: Descriptor;
  /** The hash of the blob up to the first byte of `open`, which is at a multiple of BLOCK_BYTES. */
  readonly before: Verifier;
  /** Opens the bytes after `before`. */
  readonly open: () => Promise<AsyncIterable<Uint8Array>>;
  /** Called when readers begin or stop to wait for bytes of the upstream. */
  readonly onIdle: (isIdle: boolean) => void;
  /** The memory that all bodies share. */
  readonly memory: BlockMemory;
}

export class SharedBody {
  /** Resolves when the upstream has begun to answer. */
  readonly opened: Promise<void>;
  /** Resolves when the source has ended. */
  readonly ended: Promise<void>;
  readonly #options: SharedBodyOptions;
  readonly #readers = new Set<Position>();
  readonly #beganMs = performance.now();
  readonly #verifier: Verifier;
  /** The readable blocks. */
  readonly #window: BlockWindow;
  /** Blocks of the withheld end, which are readable when the whole blob is verified. */
  readonly #withheld: Block[] = [];
  #boundary: Verifier;
  /** The block that is being filled. */
  #filling: Uint8Array = new Uint8Array();
  #filled = 0;
  #isVerified = false;
  #isAbandoned = false;
  #failure: { readonly error: unknown } | undefined;
  #brought: PromiseWithResolvers<void> = Promise.withResolvers();
  #moved: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(options: SharedBodyOptions) {
    this.#options = options;
    this.#boundary = options.before;
    this.#window = new BlockWindow(options.memory);
    this.#verifier = options.before.copy();
    const opening = options.open();
    this.opened = opening.then(() => undefined);
    this.opened.catch(() => undefined);
    this.ended = this.#run(opening);
  }

  /** Whether a reader that has the bytes of `before` can continue here, because the next block is still available. */
  serves(before: Verifier): boolean {
    if (this.#failure !== undefined || this.#isAbandoned) return false;
    const { bytes } = before;
    const known = [this.#options.before, ...[...this.#window].map(({ after }) => after), this.#boundary];
    const isInWindow = bytes >= this.#windowStart && bytes <= this.#boundary.bytes;
    return isInWindow && known.some((verifier) => verifier.bytes === bytes && verifier.hasSeenSameAs(before));
  }

  enter(position: Position): void {
    this.#readers.add(position);
  }

  /** Removes a reader; returns whether it was the last one. */
  leave(position: Position): boolean {
    position.isClosed = true;
    this.#readers.delete(position);
    this.#isAbandoned ||= this.#readers.size === 0;
    if (this.#isAbandoned) this.#window.clear();
    this.#tellReaders();
    this.#tellSource();
    return this.#isAbandoned;
  }

  /**
   * Resolves with the next block, which the reader then holds; undefined if the window has moved past it. Rejects as the
   * source does.
   */
  async take(position: Position): Promise<Block | undefined> {
    for (;;) {
      const block = this.#window.at(position.next);
      if (block !== undefined) {
        position.next = block.after.bytes;
        position.heldUpMs = Math.max(0, position.heldUpMs - BLOCK_BYTES / FLOOR_BYTES_PER_MS);
        this.#tellSource();
        return block.hold();
      }
      if (position.next < this.#windowStart) return undefined;
      await this.#news(position);
    }
  }

  /** Waits until the whole blob is verified. Rejects with the error of the source. */
  async verified(position: Position): Promise<void> {
    position.next = Infinity;
    while (!this.#isVerified) await this.#news(position);
  }

  get #windowStart(): number {
    return (this.#window.first ?? this.#withheld[0])?.start ?? this.#boundary.bytes;
  }

  /** Waits for more bytes. Rejects with the error of the source, or when the reader is closed. */
  async #news(position: Position): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error;
    position.isWaiting = true;
    this.#options.onIdle(false);
    this.#tellSource();
    await this.#brought.promise;
    position.isWaiting = false;
    if (position.isClosed) throw new Error('reader is closed');
    if (!this.#isAwaited) this.#options.onIdle(true);
  }

  get #isAwaited(): boolean {
    return this.#readers.values().some(({ isWaiting }) => isWaiting);
  }

  async #run(opening: Promise<AsyncIterable<Uint8Array>>): Promise<void> {
    try {
      for await (const chunk of await opening) {
        for (let at = 0; at < chunk.byteLength;) at += await this.#add(chunk.subarray(at));
      }
      if (this.#filled > 0) this.#closeBlock();
      this.#verifier.verify();
      this.#isVerified = true;
      this.#window.push(...this.#withheld.splice(0));
    } catch (error) {
      this.#failure = { error };
    }
    this.#tellReaders();
  }

  /** Adds bytes up to the end of a block; resolves with their number. @throws DigestMismatchError after the end of the blob */
  async #add(bytes: Uint8Array): Promise<number> {
    if (this.#filled === 0) {
      await this.#room();
      // This error leaves the iteration, which closes the source.
      if (this.#isAbandoned) throw new Error('all readers have left');
      const rest = this.#options.layer.size - this.#verifier.bytes;
      if (rest === 0) this.#verifier.update(bytes);
      this.#filling = this.#options.memory.buffer(Math.min(BLOCK_BYTES, rest));
    }
    const some = bytes.subarray(0, this.#filling.byteLength - this.#filled);
    this.#filling.set(some, this.#filled);
    this.#filled += some.byteLength;
    this.#verifier.update(some);
    if (this.#filled === this.#filling.byteLength) this.#closeBlock();
    return some.byteLength;
  }

  #closeBlock(): void {
    const start = this.#boundary.bytes;
    const after = this.#verifier.copy();
    this.#boundary = after;
    const isReadable = after.bytes <= presentable(after.bytes, this.#options.layer.size);
    const bytes = this.#filling.subarray(0, this.#filled);
    (isReadable ? this.#window : this.#withheld).push(new Block(this.#options.memory, start, bytes, after));
    this.#filled = 0;
    this.#tellReaders();
  }

  /** Waits until another block fits: until all readers have the first block, or have delayed others for too long. */
  async #room(): Promise<void> {
    while (!this.#isAbandoned && (this.#isAhead || !this.#window.takeRoom(this.#isNeeded))) {
      const first = this.#window.first?.start ?? Infinity;
      const behind = [...this.#readers].filter(({ next }) => next <= first);
      const isAwaited = this.#isAwaited;
      const holders = behind.filter(({ heldUpMs }) => heldUpMs < MAX_HOLD_UP_MS);
      const isLingering = first === this.#options.before.bytes && performance.now() < this.#beganMs + LINGER_MS;
      if (!this.#isAhead && !isLingering && (behind.length === 0 || (isAwaited && holders.length === 0))) {
        this.#window.shift();
        continue;
      }
      const sinceMs = performance.now();
      // A timer runs only while a reader waits for another one, so stalled readers cause no work.
      const tick = isAwaited || isLingering ? setTimeout(this.#tellSource, TICK_MS) : undefined;
      this.#options.memory.wait(this.#tellSource);
      await this.#moved.promise;
      clearTimeout(tick);
      this.#options.memory.waitNoMore(this.#tellSource);
      if (isAwaited) for (const holder of holders) holder.heldUpMs += performance.now() - sinceMs;
    }
  }

  /** Whether a reader waits for the next block, or it is the first one. */
  get #isNeeded(): boolean {
    return this.#withheld.length === 0 || this.#isAwaited;
  }

  /** Whether no reader needs the next block soon. A reader that waits for the verification needs all blocks. */
  get #isAhead(): boolean {
    const places = [...this.#readers].filter(({ next, isWaiting }) => isWaiting || Number.isFinite(next));
    const furthest = Math.max(...places.map(({ next }) => next));
    return places.length > 0 && this.#boundary.bytes >= furthest + AHEAD_BYTES;
  }

  /** Wakes the readers when there is a block, the end or an error. */
  #tellReaders(): void {
    const { resolve } = this.#brought;
    this.#brought = Promise.withResolvers();
    resolve();
  }

  /** Wakes the source when a reader has taken a block, waits for one or has left, or when blocks are free again. */
  readonly #tellSource = (): void => {
    const { resolve } = this.#moved;
    this.#moved = Promise.withResolvers();
    resolve();
  };
}
