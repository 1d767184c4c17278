/** Files that are read in blocks of memory: all readers of a file share its blocks, and all files share the memory. */
import { read } from 'node:fs';
import { hold } from '../../domain/lent-memory.ts';

/** Measured: reading is a third slower with 256 KiB, not faster with 1 MiB, and several times slower with new buffers. */
export const BLOCK_BYTES = 512 * 1024;
/** 32 MiB; blocks are allocated when needed and then kept. */
const MAX_BLOCKS = 64;
/** A reader close to the writer needs 1 or 2. The memory belongs to downloads, which use small blocks while it is borrowed. */
const MAX_BORROWED = 4;

interface Block {
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

/** A few large blocks, which are reused. */
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

export interface HeldBytes {
  readonly bytes: Uint8Array;
  /** Call this once; afterwards the memory can be reused. */
  release(): void;
}

/** A file with the blocks of it that are in memory. */
export class BlockFile {
  readonly fd: number;
  readonly #pool: BlockPool;
  readonly #blocks = new Map<number, Block>();

  /** `fd` must stay open while there are readers. */
  constructor(fd: number, pool: BlockPool) {
    this.fd = fd;
    this.#pool = pool;
  }

  /**
   * Resolves with the bytes from `offset` to `limit`, at most to the end of their block. Bytes that are not in memory are read
   * only up to `enough`. Undefined if no block is free. The file must be written up to `limit`. Rejects with the error of the
   * file system.
   */
  async hold(offset: number, limit: number, enough = limit): Promise<HeldBytes | undefined> {
    const index = Math.floor(offset / BLOCK_BYTES);
    const block = this.#join(index) ?? this.#begin(index);
    if (block === undefined) return undefined;
    const start = index * BLOCK_BYTES;
    const length = Math.min(BLOCK_BYTES, limit - start);
    const needed = Math.min(length, enough - start);
    try {
      while (block.length < needed) await (block.loading ??= this.#load(block, start, needed));
    } catch (error) {
      block.holders--;
      throw error;
    }
    return {
      bytes: block.bytes.subarray(offset - start, Math.min(block.length, length)),
      release: () => {
        block.holders--;
      },
    };
  }

  /**
   * Keeps bytes that were written at `offset` in memory, so that readers close to the writer do not read the file: in their
   * own memory if it is lent, else as a copy. Keeps nothing of a block whose previous bytes are missing.
   */
  keep(offset: number, written: Uint8Array): void {
    for (let done = 0; done < written.byteLength;) {
      const at = offset + done;
      const index = Math.floor(at / BLOCK_BYTES);
      const start = at - index * BLOCK_BYTES;
      const piece = written.subarray(done, done + BLOCK_BYTES - start);
      const block = this.#join(index) ?? (start === 0 ? (this.#borrow(index, piece) ?? this.#begin(index)) : undefined);
      if (block !== undefined) {
        if (block.length === start && block.loading === undefined) {
          const { buffer, byteOffset } = block.bytes;
          const isThere = piece.buffer === buffer && piece.byteOffset === byteOffset + start;
          if (!isThere) block.bytes.set(piece, start);
          block.length += piece.byteLength;
        }
        block.holders--;
      }
      done += piece.byteLength;
    }
  }

  /** Drops the blocks; later readers read the file. */
  forget(): void {
    for (const block of this.#blocks.values()) this.#pool.free(block);
    this.#blocks.clear();
  }

  #join(index: number): Block | undefined {
    const block = this.#blocks.get(index);
    if (block !== undefined) block.holders++;
    return block;
  }

  #begin(index: number): Block | undefined {
    return this.#enter(
      index,
      this.#pool.take(() => this.#blocks.delete(index)),
    );
  }

  #borrow(index: number, bytes: Uint8Array): Block | undefined {
    return this.#enter(
      index,
      this.#pool.borrow(bytes, () => this.#blocks.delete(index)),
    );
  }

  #enter(index: number, block: Block | undefined): Block | undefined {
    if (block !== undefined) this.#blocks.set(index, block);
    return block;
  }

  /** Reads the rest of a block, which may be incomplete because a growing file is read as far as it is written. */
  async #load(block: Block, start: number, length: number): Promise<void> {
    try {
      while (block.length < length) {
        const rest = block.bytes.subarray(block.length, length);
        block.length += await readAt(this.fd, rest, start + block.length);
      }
    } finally {
      block.loading = undefined;
    }
  }
}

/** Resolves with the number of bytes that were read, at least one; rejects at the end of the file. */
export function readAt(fd: number, into: Uint8Array, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, into, 0, into.byteLength, offset, (error, bytesRead) => {
      if (error) reject(error);
      else if (bytesRead === 0) reject(new Error('file is shorter than it should be'));
      else resolve(bytesRead);
    });
  });
}
