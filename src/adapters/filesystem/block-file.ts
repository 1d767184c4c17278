/** A file that is read in blocks of memory: what one reader has read is there for all others. */
import { read } from 'node:fs';
import { type Block, BLOCK_BYTES, type BlockPool } from './block-pool.ts';

export interface HeldBytes {
  readonly bytes: Uint8Array;
  /** To be called once; the bytes are others' then. */
  release(): void;
}

export class BlockFile {
  readonly fd: number;
  readonly #pool: BlockPool;
  readonly #blocks = new Map<number, Block>();

  /** `fd` stays open for as long as a reader is left. */
  constructor(fd: number, pool: BlockPool) {
    this.fd = fd;
    this.#pool = pool;
  }

  /**
   * The bytes from `offset` up to `limit`, at most to the end of their block, and of those that are not in memory yet only
   * the ones up to `enough`; undefined when no block is free. The file must have been written up to `limit`. Rejects with
   * the error of the file system.
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
   * Keeps bytes that have just been written at `offset`, for readers close behind the writer, which read nothing from the
   * file then: in the memory where they are if it is lent, or as a copy. Of a block that lacks the bytes before, nothing is
   * kept.
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

  /** A reader that comes later reads from the file. */
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

  /** Goes on where the block ends, which may be in the middle: a file that grows is read as far as it has been written. */
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

/** Resolves with how many bytes were read, at least one: rejects where the file ends. */
export function readAt(fd: number, into: Uint8Array, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, into, 0, into.byteLength, offset, (error, bytesRead) => {
      if (error) reject(error);
      else if (bytesRead === 0) reject(new Error('file is shorter than it should be'));
      else resolve(bytesRead);
    });
  });
}
