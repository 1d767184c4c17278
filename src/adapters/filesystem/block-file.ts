/** A file that is read in blocks of memory, which all its readers share. */
import { read } from 'node:fs';
import { type Block, BLOCK_BYTES, type BlockPool } from './block-pool.ts';

export interface HeldBytes {
  readonly bytes: Uint8Array;
  /** Call this once; afterwards the memory can be reused. */
  release(): void;
}

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
