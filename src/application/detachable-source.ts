/** A download that continues when the store fails: its source stays open, and its readers read the rest. */
import type { Descriptor } from '../domain/descriptor.ts';
import { EvictedError, StoreFailedError, StoreFullError } from '../domain/errors.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';
import { presentable, Verifier } from '../domain/verifier.ts';
import { BLOCK_BYTES } from './block-window.ts';

const NOTHING = new Uint8Array();
/** The pace is that of the last one to two of these intervals. */
const PACE_MS = 5000;
/** A download that would hold its room for longer than this gives way when another one finds no room. */
const MAX_REST_MS = 600_000;
/** The same for a download without clients: a client that lost its connection returns within this time. */
const MAX_IDLE_REST_MS = 5000;

interface Point {
  readonly atMs: number;
  readonly bytes: number;
}

export class DetachableSource implements AsyncIterable<Uint8Array> {
  readonly #chunks: AsyncIterator<Uint8Array>;
  /** The end of the bytes that a reader may get before the blob is verified. */
  readonly #readableEnd: number;
  /** The last chunk, which is valid until the next one is requested. */
  #last: Uint8Array = NOTHING;
  /** The number of bytes before the last chunk. */
  #done = 0;
  readonly openedAt = new Date();
  #receivedAtMs = this.openedAt.getTime();
  #hasEnded = false;
  #hasGivenWay = false;
  readonly #size: number;
  /** Two points on the way, with the time on the monotonic clock; the pace is measured from the first one. */
  #points: readonly [Point, Point];
  /** Copies of all bytes after `#readableEnd`, at most 64 KiB. */
  readonly #withheld: Uint8Array<ArrayBuffer>[] = [];

  constructor(chunks: AsyncIterable<Uint8Array>, size: number) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#readableEnd = presentable(size, size);
    this.#size = size;
    const start = { atMs: performance.now(), bytes: 0 };
    this.#points = [start, start];
  }

  /** The iterator for the store. It has no `return`, so the source stays open when the store leaves the iteration. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: async () => {
        this.#done += this.#last.byteLength;
        this.#last = NOTHING;
        const next = await this.#chunks.next();
        if (next.done === true) this.#hasEnded = true;
        else this.#take(next.value);
        if (this.#hasGivenWay && !this.#hasEnded) throw new StoreFailedError({ cause: new StoreFullError() });
        return next;
      },
    };
  }

  /** The number of received bytes. */
  get bytes(): number {
    return this.#done + this.#last.byteLength;
  }

  /** The time of the last chunk; before the first one, the time of the opening. */
  get receivedAt(): Date {
    return new Date(this.#receivedAtMs);
  }

  /**
   * Releases the room of this blob if the rest takes too long at the present pace: the store fails at the next chunk. Returns
   * whether it does.
   */
  giveWay(hasClients: boolean): boolean {
    const [{ atMs, bytes }] = this.#points;
    const elapsedMs = performance.now() - atMs;
    if (this.#hasGivenWay || elapsedMs < PACE_MS) return false;
    const restMs = ((this.#size - this.bytes) / Math.max(1, this.bytes - bytes)) * elapsedMs;
    this.#hasGivenWay = restMs > (hasClients ? MAX_REST_MS : MAX_IDLE_REST_MS);
    return this.#hasGivenWay;
  }

  /** Whether the store has read all bytes. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /**
   * Resolves with the rest after the last whole block that readers of the store have. The store reads no more, and `stored` is
   * closed. Rejects if the store does not return its bytes.
   */
  async detach(
    stored: BlobReader,
    layer: Descriptor,
  ): Promise<{ readonly before: Verifier; readonly chunks: AsyncIterable<Uint8Array> }> {
    // The store failed on the last chunk, so it has the bytes before it.
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

  /** Ends the source, which may have ended already. */
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
    const [, later] = this.#points;
    const atMs = performance.now();
    if (atMs >= later.atMs + PACE_MS) this.#points = [later, { atMs, bytes: this.bytes }];
    const hidden = this.#done + chunk.byteLength - this.#readableEnd;
    if (hidden > 0) this.#withheld.push(new Uint8Array(chunk.subarray(-Math.min(hidden, chunk.byteLength))));
  }
}

interface DownloadReaderOptions {
  readonly stored: BlobReader;
  /** Opens a reader of the rest of this download, which begins after the bytes of `before`. */
  readonly openRest: (before: Verifier) => Promise<BlobReader>;
  /** Resolves when the readers of a failed download know its rest, or if there is none. */
  readonly failed: () => Promise<void>;
  readonly onClose: () => void;
}

/** The reader of one client: it reads the bytes of the store, and after a failure of the store the rest of the same download. */
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
   * Joins the rest at once, while the client may still read stored bytes, so that the rest waits for this reader. Never rejects.
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
      // The disk may fail for this reader before the offset at which the download failed.
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
