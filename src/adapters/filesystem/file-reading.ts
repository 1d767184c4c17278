/** One reader of a file. A fast reader gets large blocks, with one block read ahead. */
import { EvictedError, StoreFailedError } from '../../domain/errors.ts';
import type { StoredBlob } from '../../domain/ports/package-store.ts';
import { BlockFile, type HeldBytes, readAt } from './block-file.ts';
import type { OpenFile } from './open-files.ts';
import type { PinningReader } from './eviction.ts';

/** A reader slower than 1 MiB/s must not hold blocks that others could use. */
const QUICK_BYTES_PER_MS = 1024;
/** More than the buffer of a socket, because bytes that only fill the buffer do not show the speed of the client. */
const QUICK_AGAIN_BYTES = 8 * 1024 * 1024;
/** The memory of a slow reader, of which there may be a thousand. */
const SMALL_READ_BYTES = 16 * 1024;
/** The size of the first read, for which the client waits, and of the reads of a fast reader while no block is free. */
const FIRST_READ_BYTES = 64 * 1024;
/** A reader further behind the end of a growing file reads the file. Without this limit 14 stalled readers held 16 MiB. */
const CLOSE_BEHIND_BYTES = 2 * 1024 * 1024;
/** A reader that has read nothing for this time counts as slow. */
const STALLED_MS = 250;

export class FileReading {
  readonly #file: BlockFile;
  #reading: Promise<unknown> | undefined;
  #held: HeldBytes | undefined;
  #ahead: { readonly offset: number; readonly held: Promise<HeldBytes | undefined> } | undefined;
  #own: Buffer | undefined;
  #handedOutBytes = 0;
  /** The offset after the last returned byte. */
  #readEnd = 0;
  /** The time of the last return; Infinity at the start, so that a new reader is not slow. */
  #handedOutAt = Infinity;
  /** The bytes that were read fast since the reader was last slow. */
  #quickBytes = QUICK_AGAIN_BYTES;

  constructor(file: BlockFile) {
    this.#file = file;
  }

  /**
   * Resolves with bytes from `offset` on, valid until the next call. `written` is the size that is written, or a promise of it.
   * Rejects with StoreFailedError, or as `written` does.
   */
  read(offset: number, written: number | Promise<number>): Promise<Uint8Array> {
    const reading = this.#read(offset, written);
    this.#reading = reading;
    return reading;
  }

  /** Whether the client has recently read below 1 MiB/s, or reads nothing. */
  get isSlow(): boolean {
    return !this.#isQuick || performance.now() - this.#handedOutAt > STALLED_MS;
  }

  /** Whether the client reads the bytes shortly before `offset`, so that it needs the bytes after it soon. */
  follows(offset: number): boolean {
    return !this.isSlow && offset - this.#readEnd <= CLOSE_BEHIND_BYTES;
  }

  /** Releases the file; the last returned bytes stay valid until `close`. Resolves when no read is running. */
  async detach(): Promise<void> {
    await this.#reading?.catch(() => undefined);
    await this.#dropAhead();
  }

  /** Resolves when no read is running, because a closed descriptor can be reused for another file. */
  async close(): Promise<void> {
    await this.#reading?.catch(() => undefined);
    this.#held?.release();
    await this.#dropAhead();
  }

  async #read(offset: number, written: number | Promise<number>): Promise<Uint8Array> {
    this.#judgePace();
    this.#held?.release();
    this.#held = undefined;
    const limit = typeof written === 'number' ? written : await written;
    try {
      const held = await this.#next(offset, limit);
      const bytes = held?.bytes ?? (await this.#readSome(offset, limit));
      this.#held = held;
      if (held !== undefined && offset + bytes.byteLength < limit) this.#readAhead(offset + bytes.byteLength, limit);
      this.#handedOutBytes = bytes.byteLength;
      this.#readEnd = offset + bytes.byteLength;
      this.#handedOutAt = performance.now();
      return bytes;
    } catch (cause) {
      throw new StoreFailedError({ cause });
    }
  }

  get #isQuick(): boolean {
    return this.#quickBytes >= QUICK_AGAIN_BYTES;
  }

  /**
   * One pause does not make a quick reader slow: on a busy machine, a piece of 64 KiB often waits for more than 64 ms for a
   * sidecar that serves 32 clients, and half of all bytes were then read by 16 KiB, for twice the processor time.
   */
  #judgePace(): void {
    const patienceMs = this.#isQuick ? STALLED_MS : 0;
    const takenMs = performance.now() - this.#handedOutAt - patienceMs;
    const quick = this.#handedOutBytes >= takenMs * QUICK_BYTES_PER_MS;
    this.#quickBytes = quick ? this.#quickBytes + this.#handedOutBytes : 0;
  }

  async #next(offset: number, limit: number): Promise<HeldBytes | undefined> {
    if (this.#isQuick && this.#ahead?.offset === offset) {
      const { held } = this.#ahead;
      this.#ahead = undefined;
      return held;
    }
    await this.#dropAhead();
    if (!this.#isQuick) return undefined;
    const isFirst = this.#handedOutAt === Infinity;
    return this.#file.hold(offset, limit, isFirst ? Math.min(limit, offset + FIRST_READ_BYTES) : limit);
  }

  #readAhead(offset: number, limit: number): void {
    const held = this.#file.hold(offset, limit);
    // The error is ignored if the reader never requests this block.
    held.catch(() => undefined);
    this.#ahead = { offset, held };
  }

  async #dropAhead(): Promise<void> {
    const held = await this.#ahead?.held.catch(() => undefined);
    this.#ahead = undefined;
    held?.release();
  }

  async #readSome(offset: number, limit: number): Promise<Uint8Array> {
    const length = this.#isQuick ? FIRST_READ_BYTES : SMALL_READ_BYTES;
    if (this.#own?.byteLength !== length) this.#own = Buffer.allocUnsafeSlow(length);
    const into = this.#own.subarray(0, Math.min(length, limit - offset));
    return into.subarray(0, await readAt(this.#file.fd, into, offset));
  }
}

interface StoredFileEvents {
  /** Called if the file has changed since it was opened. */
  onDamage(): void;
  /** Called when this reader has no running read and no longer uses the file. */
  onClosed(): void;
}

/** A reader of a cached blob. */
export function readStoredFile({ entry, content }: OpenFile, events: StoredFileEvents): StoredBlob & PinningReader {
  const { size, storedAt } = entry;
  if (!(content instanceof BlockFile)) {
    const close = (): Promise<void> => {
      events.onClosed();
      return Promise.resolve();
    };
    const read = (offset: number): Promise<Uint8Array> => Promise.resolve(content.subarray(offset));
    // A small file is in memory, so its reader is never revoked.
    return { size, storedAt, read, close, isSlow: false, revoke: () => Promise.resolve() };
  }
  const reading = new FileReading(content);
  let revoking: Promise<void> | undefined;
  return {
    size,
    storedAt,
    get isSlow() {
      return reading.isSlow;
    },
    revoke: () =>
      (revoking ??= reading.detach().then(() => {
        events.onClosed();
      })),
    read: async (offset) => {
      if (offset >= size) return new Uint8Array();
      if (revoking !== undefined) throw new EvictedError();
      try {
        return await reading.read(offset, size);
      } catch (error) {
        events.onDamage();
        throw error;
      }
    },
    close: async () => {
      await reading.close();
      if (revoking === undefined) events.onClosed();
    },
  };
}
