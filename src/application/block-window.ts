/** The blocks of a body that its readers still need, with a memory limit for all bodies together. */
import type { Verifier } from '../domain/verifier.ts';

/** A stalled client holds at most one block. Clients that stall at the same place hold the same block. */
export const BLOCK_BYTES = 64 * 1024;
/** 1 MiB: a reader can be this far behind the fastest one before other readers wait for it. */
const MAX_BLOCKS = 16;

/** The memory of the blocks of all bodies. */
export class BlockMemory {
  /** Free buffers for reuse, because tens of MiB of new buffers would wait for the garbage collector. */
  readonly #spare: Uint8Array[] = [];
  readonly #maxSpare: number;
  #free: number;
  /** Called once when blocks are free again. */
  readonly #waiting = new Set<() => void>();

  /** `blocks` is the number of blocks of all windows, in addition to the first block of each. */
  constructor(blocks: number) {
    this.#free = blocks;
    this.#maxSpare = blocks;
  }

  /** Returns a buffer; one for the last bytes of a body has exactly their size. */
  buffer(bytes: number): Uint8Array {
    return bytes < BLOCK_BYTES ? new Uint8Array(bytes) : (this.#spare.pop() ?? new Uint8Array(BLOCK_BYTES));
  }

  recycle(buffer: Uint8Array): void {
    if (buffer.byteLength === BLOCK_BYTES && this.#spare.length < this.#maxSpare) this.#spare.push(buffer);
  }

  /** Takes room for another block; returns false if there is none. */
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

  /** Calls `tell` once when blocks are free; a function that waits already is not added again. */
  wait(tell: () => void): void {
    this.#waiting.add(tell);
  }

  waitNoMore(tell: () => void): void {
    this.#waiting.delete(tell);
  }
}

/** A block, whose bytes are valid until the last holder releases it. A new block has one holder. */
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

  /** Each holder calls this once. */
  release(): void {
    if (--this.#holders === 0) this.#memory.recycle(this.bytes);
  }
}

export class BlockWindow {
  readonly memory: BlockMemory;
  /** The blocks in order, without a gap. */
  readonly #blocks: Block[] = [];
  /** The number of blocks for which room was taken. */
  #taken = 0;

  constructor(memory: BlockMemory) {
    this.memory = memory;
  }

  get first(): Block | undefined {
    return this.#blocks[0];
  }

  /** Returns the block that starts at this offset, if it is in the window. */
  at(start: number): Block | undefined {
    return this.#blocks[(start - (this.first?.start ?? 0)) / BLOCK_BYTES];
  }

  [Symbol.iterator](): ArrayIterator<Block> {
    return this.#blocks.values();
  }

  /**
   * Takes room for another block. A needed block of an empty window always gets room, so that no reader waits for readers that
   * read other bodies.
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

  /** Releases all blocks when no reader is left. */
  clear(): void {
    for (const block of this.#blocks.splice(0)) block.release();
    this.#giveBackRoom(this.#taken);
  }

  #giveBackRoom(blocks: number): void {
    this.#taken -= blocks;
    this.memory.giveBackRoom(blocks);
  }
}
