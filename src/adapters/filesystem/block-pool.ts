/** The memory that files are read into: a few large blocks, which are reused. */
import { hold } from '../../domain/lent-memory.ts';

/** Measured: a third slower at 256 KiB, not faster at 1 MiB; fresh buffers cost several times the work itself. */
export const BLOCK_BYTES = 512 * 1024;
/** 32 MiB, allocated when first needed and then kept. */
const MAX_BLOCKS = 64;
/** A reader close behind the writer lags by 1 or 2; the memory is that of all downloads, which go on in small blocks without it. */
const MAX_BORROWED = 4;

export interface Block {
  readonly bytes: Uint8Array;
  /** How many of them have been read, from the first on. */
  length: number;
  /** The readers of the block: its bytes stay until there is none. */
  holders: number;
  /** A read into it that is under way. */
  loading: Promise<void> | undefined;
  /** Called when it becomes part of another file. */
  onTaken: () => void;
}

export class BlockPool {
  readonly #blocks: Block[] = [];
  /** Those of files that are closed. */
  readonly #free: Block[] = [];
  /** The function that gives the memory of each borrowed block back, the oldest block first. */
  readonly #borrowed = new Map<Block, () => void>();

  /** How many blocks have been allocated. */
  get size(): number {
    return this.#blocks.length;
  }

  /** An empty block, held once; undefined when all are held. */
  take(onTaken: () => void): Block | undefined {
    const block = this.#free.pop() ?? (this.size < MAX_BLOCKS ? this.#allocate() : this.#anyUnheld());
    if (block === undefined) return undefined;
    block.onTaken();
    return Object.assign(block, { length: 0, holders: 1, loading: undefined, onTaken });
  }

  /**
   * A block, held once, of the very memory that `bytes` begin, so that nothing is copied; undefined when it is not lent for
   * this, is not as large as a block, or when others have enough of it.
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

  /** Its file is closed. The next file takes it before another block is allocated: 600 small files filled all 32 MiB. */
  free(block: Block): void {
    block.onTaken = () => undefined;
    if (block.holders === 0 && !this.#giveBack(block)) this.#free.push(block);
  }

  /** False for memory that is the pool's own. */
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
   * Any, not the least recently used: a reader that reads a file larger than the pool from end to end, again and again,
   * would never find a block.
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
