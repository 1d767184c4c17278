/** The body of a large blob, which is read from the socket directly into large reusable blocks. */
import type { Socket } from 'node:net';
import { lend } from '../../../domain/lent-memory.ts';

/** A good size for one write to a file or a socket. Blocks are reused, because a new buffer costs more than the read. */
const BLOCK_BYTES = 1024 * 1024;
/** If this many blocks wait for the reader, the socket is paused. */
const MAX_WAITING_BLOCKS = 2;
/** The same limit for a body that fills small blocks. */
const MAX_WAITING_SMALL_BLOCKS = 1;
/** The blocks of all bodies together, 8 MiB, which are kept when allocated. Without this limit 48 bodies held 120 MiB. */
const MAX_BLOCKS = 8;
/** The size of the next block of a body while all large blocks are in use. */
const SMALL_BLOCK_BYTES = 64 * 1024;
const MAX_SPARE_SMALL_BLOCKS = 64;

/**
 * Bytes are yielded when there are this many, or after this time. Each chunk wakes a thread that writes, one that hashes, and
 * the readers; with chunks of 64 KiB, as a socket has them, this took a third of the processor time of a miss.
 */
const CHUNK_BYTES = 512 * 1024;
const CHUNK_DELAY_MS = 2;

const spare: Uint8Array[] = [];
const smallSpare: Uint8Array[] = [];
let allocated = 0;

interface Block {
  readonly bytes: Uint8Array;
  /** Releases the block once; it is reused when no other holder is left. */
  readonly letGo: () => void;
  filled: number;
  /** The number of bytes that were yielded. */
  taken: number;
}

/**
 * Yields the bytes that have arrived. A chunk is valid until the next one is requested, or as long as its memory is held. The
 * body must be iterated once or destroyed.
 */
export class DirectBody implements AsyncIterable<Uint8Array> {
  readonly #socket: Socket;
  readonly #giveBack: () => void;
  /** The blocks, the oldest first; the last one is being filled. */
  readonly #blocks: Block[] = [];
  #missing: number;
  #isPaused = false;
  #isReleased = false;
  /** Whether the connection is free for other requests. */
  #isGivenBack = false;
  #failure: { readonly error: Error } | undefined;
  #news: PromiseWithResolvers<void> = Promise.withResolvers();
  /** Whether the next chunk is yielded at any size, like the first one, for which clients wait. */
  #isDue = true;
  #delay: NodeJS.Timeout | undefined;

  /**
   * `first` has the bytes of the body that have arrived already; `length` is the length of the whole body. `giveBack` is called
   * in the turn in which the last byte arrives, unless further bytes follow it.
   */
  constructor(socket: Socket, first: Uint8Array, length: number, giveBack: () => void) {
    this.#socket = socket;
    this.#giveBack = giveBack;
    this.#missing = length;
    for (let start = 0; start < first.byteLength;) {
      const copied = first.subarray(start);
      const space = this.space() ?? new Uint8Array(0);
      space.set(copied.subarray(0, space.byteLength));
      this.land(Math.min(copied.byteLength, space.byteLength));
      start += space.byteLength;
    }
  }

  /** The memory for the next bytes; undefined if the body is complete. */
  space(): Uint8Array | undefined {
    if (this.#missing === 0 || this.#isReleased) return undefined;
    let last = this.#blocks.at(-1);
    if (last === undefined || last.filled === last.bytes.byteLength) {
      const bytes = spare.pop() ?? allocate();
      const letGo = lend(bytes, () => {
        release(bytes);
      });
      last = { bytes, letGo, filled: 0, taken: 0 };
      this.#blocks.push(last);
    }
    return last.bytes.subarray(last.filled);
  }

  /**
   * Accounts for bytes in that memory. Returns false if reading must pause. Bytes after the end are dropped, and the connection
   * is closed.
   */
  land(bytes: number): boolean {
    const last = this.#blocks.at(-1);
    if (last === undefined || this.#missing === 0) return false;
    const ours = Math.min(bytes, this.#missing);
    last.filled += ours;
    this.#missing -= ours;
    this.#isPaused = this.#missing > 0 && this.#isFull;
    if (this.#hasChunk) this.#news.resolve();
    else this.#hurryLater();
    if (this.#missing > 0) return !this.#isPaused;
    this.#isGivenBack = ours === bytes;
    if (this.#isGivenBack) this.#giveBack();
    return this.#isGivenBack;
  }

  /** The connection has ended. Bytes that have arrived are still read. A complete body is not affected. */
  fail(error: Error): void {
    this.#failure ??= { error };
    this.#news.resolve();
  }

  /** Ends the connection of an incomplete body: its parser waits for the rest, so no other response can follow. */
  destroy(): void {
    if (!this.#isGivenBack) this.#socket.destroy();
    this.fail(new Error('the reader left the body'));
    clearTimeout(this.#delay);
    if (this.#isReleased) return;
    this.#isReleased = true;
    for (const { letGo } of this.#blocks.splice(0)) letGo();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const landed = this.#take();
        if (landed !== undefined) {
          yield landed;
          this.#dropTaken();
        } else if (this.#missing === 0) {
          return;
        } else if (this.#failure !== undefined) {
          throw this.#failure.error;
        } else {
          // A few bytes in the next block: the server may send no more for a while, so they are yielded with the full block.
          const [first] = this.#blocks;
          if (first !== undefined && first.filled > first.taken) this.#hurryLater();
          await this.#news.promise;
          this.#news = Promise.withResolvers();
        }
      }
    } finally {
      this.destroy();
    }
  }

  /** Whether more blocks wait than allowed. */
  get #isFull(): boolean {
    const isSmall = this.#blocks.at(-1)?.bytes.byteLength === SMALL_BLOCK_BYTES;
    return this.#blocks.length > (isSmall ? MAX_WAITING_SMALL_BLOCKS : MAX_WAITING_BLOCKS);
  }

  /** Whether enough bytes have arrived for a chunk. */
  get #hasChunk(): boolean {
    const [first] = this.#blocks;
    if (first === undefined || first.filled === first.taken) return false;
    const isLast = this.#missing === 0 || this.#failure !== undefined;
    const isFull = first.filled === first.bytes.byteLength;
    return this.#isDue || isLast || isFull || first.filled - first.taken >= CHUNK_BYTES;
  }

  #hurryLater(): void {
    this.#delay ??= setTimeout(() => {
      this.#delay = undefined;
      this.#isDue = true;
      this.#news.resolve();
    }, CHUNK_DELAY_MS);
  }

  #take(): Uint8Array | undefined {
    const [first] = this.#blocks;
    if (first === undefined || !this.#hasChunk) return undefined;
    this.#isDue = false;
    const start = first.taken;
    first.taken = first.filled;
    return first.bytes.subarray(start, first.filled);
  }

  #dropTaken(): void {
    const [first] = this.#blocks;
    if (first !== undefined && first.taken === first.bytes.byteLength) {
      this.#blocks.shift();
      first.letGo();
    }
    if (this.#isPaused && !this.#isFull) {
      this.#isPaused = false;
      this.#socket.resume();
      // The stream of this socket is still flowing; only reading from its handle was stopped.
      this.#socket._read(BLOCK_BYTES);
    }
  }
}

function allocate(): Uint8Array {
  if (allocated === MAX_BLOCKS) return smallSpare.pop() ?? shared(SMALL_BLOCK_BYTES);
  allocated++;
  return shared(BLOCK_BYTES);
}

/** Shared memory, so that the thread that hashes reads a chunk without a copy. */
function shared(bytes: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(bytes));
}

function release(block: Uint8Array): void {
  if (block.byteLength === BLOCK_BYTES) spare.push(block);
  else if (smallSpare.length < MAX_SPARE_SMALL_BLOCKS) smallSpare.push(block);
}
