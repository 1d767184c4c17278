/** Reads a blob that cannot be cached directly from its upstream, and verifies it meanwhile. */
import { TooManyDownloadsError } from '../domain/errors.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';
import type { Verifier } from '../domain/verifier.ts';
import { type Block, BLOCK_BYTES } from './block-window.ts';
import type { Position, SharedBody } from './shared-body.ts';

/** A body that this reader shares with others. */
interface Joined {
  readonly body: SharedBody;
  readonly position: Position;
  readonly leave: () => void;
}

/** Finds or begins a download that continues after the bytes of `before`. Rejects if that is not possible. */
export type JoinBody = (before: Verifier) => Promise<Joined>;

/** Reads only forward: an earlier offset rejects. Bytes are valid until the next read or `close`. */
export class PassThroughReader implements BlobReader {
  readonly size: number;
  readonly #join: JoinBody;
  #joined: Joined;
  /** The hash of the bytes before the next block of this reader. */
  #before: Verifier;
  #block: Block | undefined;
  #isClosed = false;

  private constructor(size: number, before: Verifier, join: JoinBody, joined: Joined) {
    this.size = size;
    this.#before = before;
    this.#join = join;
    this.#joined = joined;
  }

  /** Begins after the bytes of `before`. Rejects as `join` does. */
  static async open(size: number, before: Verifier, join: JoinBody): Promise<PassThroughReader> {
    return new PassThroughReader(size, before, join, await join(before));
  }

  async read(offset: number): Promise<Uint8Array> {
    if (offset < (this.#block?.start ?? this.#before.bytes))
      throw new Error('what has passed through cannot be read again');
    for (;;) {
      const block = this.#block;
      if (block !== undefined && offset < block.after.bytes) return block.bytes.subarray(offset - block.start);
      if (await this.#advance(offset)) {
        if (offset >= this.size) return new Uint8Array();
      } else {
        await this.#rejoin();
      }
    }
  }

  close(): Promise<void> {
    this.#isClosed = true;
    this.#joined.leave();
    this.#letGo();
    return Promise.resolve();
  }

  /** Gets the block at `offset`, or the result of the verification; false if this body has left the reader behind. */
  async #advance(offset: number): Promise<boolean> {
    const { body, position } = this.#joined;
    // The bytes of the last read are valid only until this read.
    this.#letGo();
    try {
      if (offset >= this.size) {
        await body.verified(position);
        return true;
      }
      position.next = Math.max(offset - (offset % BLOCK_BYTES), this.#before.bytes);
      const block = await body.take(position);
      if (block === undefined) return false;
      if (this.#isClosed) {
        block.release();
        throw new Error('reader is closed');
      }
      this.#block = block;
      this.#before = block.after;
      return true;
    } catch (error) {
      // The body lost its slot to another download while none of its readers waited for bytes.
      if (error instanceof TooManyDownloadsError) return false;
      throw error;
    }
  }

  #letGo(): void {
    this.#block?.release();
    this.#block = undefined;
  }

  /** Continues in a download that starts after the bytes of this reader. */
  async #rejoin(): Promise<void> {
    this.#joined.leave();
    const joined = await this.#join(this.#before);
    this.#joined = joined;
    if (!this.#isClosed) return;
    joined.leave();
    throw new Error('reader is closed');
  }
}
