/** The memory for reading files: a few large blocks, which are reused. */
import { hold } from '../../domain/lent-memory.ts';

/** Measured: reading is a third slower with 256 KiB, not faster with 1 MiB, and several times slower with new buffers. */
export const BLOCK_BYTES = 512 * 1024;
/** 32 MiB; blocks are allocated when needed and then kept. */
const MAX_BLOCKS = 64;
/** A reader close to the writer needs 1 or 2. The memory belongs to downloads, which use small blocks while it is borrowed. */
const MAX_BORROWED = 4;

export interface Block {
  readonly bytes: Uint8Array;
  /** The number of bytes that are read, from the first on. */
  length: number;
  /** The number of readers of the block; its bytes stay until there is none. */
  holders: number;
  /** The running read into this block. */
  loading: Promise<void> | undefined;
  /** Called when another file takes the block. */
  onTaken: () => void;
}

export class BlockPool {
  readonly #blocks: Block[] = [];
  /** The blocks of closed files. */
  readonly #free: Block[] = [];
  /** A function for each borrowed block that returns its memory, the oldest block first. */
  readonly #borrowed = new Map<Block, () => void>();

  /** The number of allocated blocks. */
  get size(): number {
    return this.#blocks.length;
  }

  /** Returns an empty block, held once; undefined if all blocks are held. */
  take(onTaken: () => void): Block | undefined {
    const block = this.#free.pop() ?? (this.size < MAX_BLOCKS ? this.#allocate() : this.#anyUnheld());
    if (block === undefined) return undefined;
    block.onTaken();
    return Object.assign(block, { length: 0, holders: 1, loading: undefined, onTaken });
  }

  /**
   * Returns a block, held once, in the memory of `bytes`, so that nothing is copied. Undefined if the memory is not lent, is
   * smaller than a block, or if enough blocks are borrowed already.
   */
  borrow(bytes: Uint8Array, onTaken: () => void): Block | undefined {
    const { buffer, byteOffset } = bytes;
    if (byteOffset % BLOCK_BYTES > 0 || byteOffset + BLOCK_BYTES > buffer.byteLength) return undefined;
    if (this.#borrowed.size === MAX_BORROWED) {
      const unheld = this.#borrowed.keys().find(({ holders }) => holders === 0);
      if (unheld === undefined) return undefined;
      unheld.onTaken();
      this.#giveBack(unheld);
    }
    const letGo = hold(bytes);
    if (letGo === undefined) return undefined;
    const memory = new Uint8Array(buffer, byteOffset, BLOCK_BYTES);
    const block: Block = { bytes: memory, length: 0, holders: 1, loading: undefined, onTaken };
    this.#borrowed.set(block, letGo);
    return block;
  }

  /** Frees the block of a closed file for the next file. Without this, 600 small files filled all 32 MiB. */
  free(block: Block): void {
    block.onTaken = () => undefined;
    if (block.holders === 0 && !this.#giveBack(block)) this.#free.push(block);
  }

  /** Returns borrowed memory; false for memory of the pool itself. */
  #giveBack(block: Block): boolean {
    this.#borrowed.get(block)?.();
    return this.#borrowed.delete(block);
  }

  #allocate(): Block {
    const bytes = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    const block: Block = { bytes, length: 0, holders: 0, loading: undefined, onTaken: () => undefined };
    this.#blocks.push(block);
    return block;
  }

  /**
   * Returns any block without readers, not the least recently used one: with that, repeated reads of a file larger than the
   * pool would never find a block in memory.
   */
  #anyUnheld(): Block | undefined {
    const first = Math.floor(Math.random() * MAX_BLOCKS);
    for (let step = 0; step < MAX_BLOCKS; step++) {
      const block = this.#blocks[(first + step) % MAX_BLOCKS];
      if (block?.holders === 0) return block;
    }
    return undefined;
  }
}
