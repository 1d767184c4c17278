/** A download that outlives its way into the store: where the store fails, its source goes on, and its readers with it. */
import type { Descriptor } from '../domain/descriptor.ts';
import { EvictedError, StoreFailedError } from '../domain/errors.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';
import { presentable, Verifier } from '../domain/verifier.ts';
import { BLOCK_BYTES } from './block-window.ts';

const NOTHING = new Uint8Array();

export class DetachableSource implements AsyncIterable<Uint8Array> {
  readonly #chunks: AsyncIterator<Uint8Array>;
  /** The end of the bytes that a reader of the store may see before all of them are verified. */
  readonly #readableEnd: number;
  /** The chunk that was taken last; it is valid until the next one is asked for. */
  #last: Uint8Array = NOTHING;
  /** Bytes before the last chunk. */
  #done = 0;
  readonly openedAt = new Date();
  #receivedAtMs = this.openedAt.getTime();
  #hasEnded = false;
  /** Copies of all bytes behind `#readableEnd`, 64 KiB at most. */
  readonly #withheld: Uint8Array<ArrayBuffer>[] = [];

  constructor(chunks: AsyncIterable<Uint8Array>, size: number) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#readableEnd = presentable(size, size);
  }

  /** For the store. It has no `return`: when the store leaves the iteration, the source stays open. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: async () => {
        this.#done += this.#last.byteLength;
        this.#last = NOTHING;
        const next = await this.#chunks.next();
        if (next.done === true) this.#hasEnded = true;
        else this.#take(next.value);
        return next;
      },
    };
  }

  /** How many bytes have been received. */
  get bytes(): number {
    return this.#done + this.#last.byteLength;
  }

  /** When the last chunk came; when it was opened, before the first. */
  get receivedAt(): Date {
    return new Date(this.#receivedAtMs);
  }

  /** Whether the store has taken all of it. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /**
   * The rest behind the last whole block that readers of the store have, to be read instead of what the store reads.
   * `stored` is closed. Rejects when the store does not return what it has.
   */
  async detach(
    stored: BlobReader,
    layer: Descriptor,
  ): Promise<{ readonly before: Verifier; readonly chunks: AsyncIterable<Uint8Array> }> {
    // The store failed on the last chunk, so it has what comes before.
    const end = Math.min(this.#done, this.#readableEnd);
    const before = new Verifier(layer);
    const boundary = end - (end % BLOCK_BYTES);
    const behind = new Uint8Array(end - boundary);
    try {
      for (let at = 0; at < end;) {
        const limit = at < boundary ? boundary : end;
        const bytes = (await stored.read(at)).subarray(0, limit - at);
        if (at < boundary) before.update(bytes);
        else behind.set(bytes, at - boundary);
        at += bytes.byteLength;
      }
    } finally {
      await stored.close();
    }
    return { before, chunks: this.#rest(behind) };
  }

  /** Ends the source, which may have ended by itself. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  async *#rest(behind: Uint8Array): AsyncGenerator<Uint8Array> {
    try {
      yield behind;
      if (this.#done > this.#readableEnd) yield* this.#withheld;
      else yield this.#last;
      yield* { [Symbol.asyncIterator]: () => this.#chunks };
    } finally {
      await this.close();
    }
  }

  #take(chunk: Uint8Array): void {
    this.#last = chunk;
    this.#receivedAtMs = Date.now();
    const hidden = this.#done + chunk.byteLength - this.#readableEnd;
    if (hidden > 0) this.#withheld.push(new Uint8Array(chunk.subarray(-Math.min(hidden, chunk.byteLength))));
  }
}

interface DownloadReaderOptions {
  readonly stored: BlobReader;
  /** Opens a reader of the rest of this download, which begins behind the bytes of `before`. */
  readonly openRest: (before: Verifier) => Promise<BlobReader>;
  /** Fulfils once the readers of a download that the store failed have been told of its rest, or there is none. */
  readonly failed: () => Promise<void>;
  readonly onClose: () => void;
}

/** One client's reader of a download: it reads what the store has, and where the store fails the rest of the same download. */
export class DownloadReader implements BlobReader {
  readonly size: number;
  readonly #options: DownloadReaderOptions;
  #blob: BlobReader;
  #rest: Promise<BlobReader | undefined> | undefined;
  #restStart = 0;
  #isClosed = false;

  constructor(options: DownloadReaderOptions) {
    this.#options = options;
    this.#blob = options.stored;
    this.size = options.stored.size;
  }

  /**
   * Takes a place in the rest at once, while the client may still read what is in the store: the rest waits for it then.
   * Never rejects.
   */
  async continueIn(before: Verifier): Promise<void> {
    this.#restStart = before.bytes;
    this.#rest = this.#options.openRest(before).catch(() => undefined);
    await this.#rest;
  }

  async read(offset: number): Promise<Uint8Array> {
    try {
      return await this.#blob.read(offset);
    } catch (error) {
      if (!(error instanceof StoreFailedError) || error instanceof EvictedError) throw error;
      await this.#options.failed();
      const rest = await this.#rest;
      // The disk may fail this reader before the place where it failed the download.
      if (rest === undefined || offset < this.#restStart || this.#isClosed) throw error;
      this.#blob = rest;
      await this.#options.stored.close();
      return rest.read(offset);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#options.onClose();
    await (await this.#rest)?.close();
    if (this.#blob === this.#options.stored) await this.#blob.close();
  }
}
