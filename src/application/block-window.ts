/** The blocks of a body that its readers still need, under a bound for all bodies together. */
import type { Verifier } from '../domain/verifier.ts';

/** A stalled client holds one block at most, and clients that stall at the same place hold the same one. */
export const BLOCK_BYTES = 64 * 1024;
/** 1 MiB: a reader may fall behind the fastest one by so much, and no other reader waits for it. */
const MAX_BLOCKS = 16;

/** The memory of the blocks of all bodies. */
export class BlockMemory {
  /** Buffers without a holder: fresh ones for each block would wait for the garbage collector, tens of MiB of them. */
  readonly #spare: Uint8Array[] = [];
  readonly #maxSpare: number;
  #free: number;
  /** Called once when blocks are free again. */
  readonly #waiting = new Set<() => void>();

  /** `blocks` are what all windows together may have beside the first block of each. */
  constructor(blocks: number) {
    this.#free = blocks;
    this.#maxSpare = blocks;
  }

  /** A buffer for the last bytes of a body has their size. */
  buffer(bytes: number): Uint8Array {
    return bytes < BLOCK_BYTES ? new Uint8Array(bytes) : (this.#spare.pop() ?? new Uint8Array(BLOCK_BYTES));
  }

  recycle(buffer: Uint8Array): void {
    if (buffer.byteLength === BLOCK_BYTES && this.#spare.length < this.#maxSpare) this.#spare.push(buffer);
  }

  /** Whether there was room for another block. */
  takeRoom(): boolean {
    if (this.#free === 0) return false;
    this.#free--;
    return true;
  }

  giveBackRoom(blocks: number): void {
    if (blocks === 0) return;
    this.#free += blocks;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const tell of waiting) tell();
  }

  /** A function that waits already waits once. */
  wait(tell: () => void): void {
    this.#waiting.add(tell);
  }

  waitNoMore(tell: () => void): void {
    this.#waiting.delete(tell);
  }
}

/** Its bytes are valid until the last holder releases it. It is held once when it is made. */
export class Block {
  readonly start: number;
  readonly bytes: Uint8Array;
  /** The hash of the blob up to the end of this block. */
  readonly after: Verifier;
  readonly #memory: BlockMemory;
  #holders = 1;

  constructor(memory: BlockMemory, start: number, bytes: Uint8Array, after: Verifier) {
    this.#memory = memory;
    this.start = start;
    this.bytes = bytes;
    this.after = after;
  }

  hold(): this {
    this.#holders++;
    return this;
  }

  /** To be called once by each holder. */
  release(): void {
    if (--this.#holders === 0) this.#memory.recycle(this.bytes);
  }
}

export class BlockWindow {
  readonly memory: BlockMemory;
  /** In their order, without a gap. */
  readonly #blocks: Block[] = [];
  /** Those for which room was taken. */
  #taken = 0;

  constructor(memory: BlockMemory) {
    this.memory = memory;
  }

  get first(): Block | undefined {
    return this.#blocks[0];
  }

  /** The block that starts there, if it is in the window. */
  at(start: number): Block | undefined {
    return this.#blocks[(start - (this.first?.start ?? 0)) / BLOCK_BYTES];
  }

  [Symbol.iterator](): ArrayIterator<Block> {
    return this.#blocks.values();
  }

  /**
   * Takes room for another block. There always is for one that is needed while the window is empty, so that no reader waits
   * for the readers of other bodies.
   */
  takeRoom(isNeeded: boolean): boolean {
    if (isNeeded && this.#blocks.length === 0) return true;
    if (this.#blocks.length >= MAX_BLOCKS || !this.memory.takeRoom()) return false;
    this.#taken++;
    return true;
  }

  push(...blocks: readonly Block[]): void {
    this.#blocks.push(...blocks);
  }

  shift(): void {
    this.#blocks.shift()?.release();
    this.#giveBackRoom(Math.min(this.#taken, 1));
  }

  /** No reader is left. */
  clear(): void {
    for (const block of this.#blocks.splice(0)) block.release();
    this.#giveBackRoom(this.#taken);
  }

  #giveBackRoom(blocks: number): void {
    this.#taken -= blocks;
    this.memory.giveBackRoom(blocks);
  }
}
