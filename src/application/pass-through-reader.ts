/** A blob straight from its upstream to one client, verified on the way, for when it cannot be kept. */
import { TooManyDownloadsError } from '../domain/errors.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';
import type { Verifier } from '../domain/verifier.ts';
import { type Block, BLOCK_BYTES } from './block-window.ts';
import type { Position, SharedBody } from './shared-body.ts';

/** A body that this reader reads with others. */
interface Joined {
  readonly body: SharedBody;
  readonly position: Position;
  readonly leave: () => void;
}

/** Finds or begins a download that goes on behind the bytes of `before`. Rejects when there is none to be had. */
export type JoinBody = (before: Verifier) => Promise<Joined>;

/** Reads forward only: an offset before that of an earlier read rejects. Bytes are valid until the next read or `close`. */
export class PassThroughReader implements BlobReader {
  readonly size: number;
  readonly #join: JoinBody;
  #joined: Joined;
  /** The hash of the bytes before this reader's next block. */
  #before: Verifier;
  #block: Block | undefined;
  #isClosed = false;

  private constructor(size: number, before: Verifier, join: JoinBody, joined: Joined) {
    this.size = size;
    this.#before = before;
    this.#join = join;
    this.#joined = joined;
  }

  /** Begins behind the bytes of `before`. Rejects as `join` does. */
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

  /** Gets the block at `offset`, or all of the verification; false when this body does not go on for this reader. */
  async #advance(offset: number): Promise<boolean> {
    const { body, position } = this.#joined;
    // The bytes of the last read were valid until this one.
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
      // The slot of the body was given to another download while all readers here were busy with what they had.
      if (error instanceof TooManyDownloadsError) return false;
      throw error;
    }
  }

  #letGo(): void {
    this.#block?.release();
    this.#block = undefined;
  }

  /** Goes on in a download that starts where this reader's bytes end. */
  async #rejoin(): Promise<void> {
    this.#joined.leave();
    const joined = await this.#join(this.#before);
    this.#joined = joined;
    if (!this.#isClosed) return;
    joined.leave();
    throw new Error('reader is closed');
  }
}
