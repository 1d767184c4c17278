/** The body of a large blob: read by the kernel straight into big blocks, which are used again and again. */
import type { Socket } from 'node:net';
import { lend } from '../../../domain/lent-memory.ts';

/** As large as one write to a file or a socket should be; a fresh buffer for each read costs more than the read. */
const BLOCK_BYTES = 1024 * 1024;
/** With so many waiting, the socket waits too. */
const MAX_WAITING_BLOCKS = 2;
/** The same for a body that fills small ones. */
const MAX_WAITING_SMALL_BLOCKS = 1;
/** For all bodies together, 8 MiB: allocated when first needed and then kept. 48 bodies without a reader held 120 MiB. */
const MAX_BLOCKS = 8;
/** The size of a body's next block while all the large ones are in use. */
const SMALL_BLOCK_BYTES = 64 * 1024;
const MAX_SPARE_SMALL_BLOCKS = 64;

/**
 * Bytes are handed out when they are this many, or have waited for this long. Each chunk wakes a thread that writes and one
 * that hashes, then the readers; by the 64 KiB that a socket has at a time, this took a third of the processor time of a miss.
 */
const CHUNK_BYTES = 512 * 1024;
const CHUNK_DELAY_MS = 2;

const spare: Uint8Array[] = [];
const smallSpare: Uint8Array[] = [];
let allocated = 0;

interface Block {
  readonly bytes: Uint8Array;
  /** To be called once; it is used again when nothing else holds it. */
  readonly letGo: () => void;
  filled: number;
  /** Handed out. */
  taken: number;
}

/**
 * Yields what has landed since; a chunk is valid until the next one is asked for, or for as long as its memory is held. To be
 * iterated once or destroyed.
 */
export class DirectBody implements AsyncIterable<Uint8Array> {
  readonly #socket: Socket;
  readonly #giveBack: () => void;
  /** Oldest first; the last one is being filled. */
  readonly #blocks: Block[] = [];
  #missing: number;
  #isPaused = false;
  #isReleased = false;
  /** The connection serves other requests by now. */
  #isGivenBack = false;
  #failure: { readonly error: Error } | undefined;
  #news: PromiseWithResolvers<void> = Promise.withResolvers();
  /** The next chunk is handed out however small it is, as the first one is, for which clients wait. */
  #isDue = true;
  #delay: NodeJS.Timeout | undefined;

  /**
   * `first` is what has come of the body already; `length` is that of the whole of it. `giveBack` is called in the turn in
   * which its last byte lands, unless bytes behind it have come too.
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

  /** Where the next bytes go; nowhere when none are missing. */
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
   * Hears of bytes in that space. False when no more should be read for now; bytes behind the end are dropped, and the
   * connection with them.
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

  /** The connection has ended. Bytes that have landed before are still read; nothing happens to a body that is whole. */
  fail(error: Error): void {
    this.#failure ??= { error };
    this.#news.resolve();
  }

  /** Ends the connection of a body that is not whole: its parser waits for the rest, so no other response may follow. */
  destroy(): void {
    if (!this.#isGivenBack) this.#socket.destroy();
    this.fail(new Error('body was left'));
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
          // Some bytes behind a block that was full when they landed: the server may send no more for a while.
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

  /** More blocks wait than should. */
  get #isFull(): boolean {
    const isSmall = this.#blocks.at(-1)?.bytes.byteLength === SMALL_BLOCK_BYTES;
    return this.#blocks.length > (isSmall ? MAX_WAITING_SMALL_BLOCKS : MAX_WAITING_BLOCKS);
  }

  /** Whether the bytes that have landed are worth a chunk. */
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
      // A socket that is intercepted flows all the while; only its handle was stopped.
      this.#socket._read(BLOCK_BYTES);
    }
  }
}

function allocate(): Uint8Array {
  if (allocated === MAX_BLOCKS) return smallSpare.pop() ?? shared(SMALL_BLOCK_BYTES);
  allocated++;
  return shared(BLOCK_BYTES);
}

/** Shared memory: a thread that hashes a chunk reads it where it is. */
function shared(bytes: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(bytes));
}

function release(block: Uint8Array): void {
  if (block.byteLength === BLOCK_BYTES) spare.push(block);
  else if (smallSpare.length < MAX_SPARE_SMALL_BLOCKS) smallSpare.push(block);
}
