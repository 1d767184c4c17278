/** One reader of a file: it gets large blocks, one of them read ahead, while it is quick. */
import { EvictedError, StoreFailedError } from '../../domain/errors.ts';
import type { StoredBlob } from '../../domain/ports/package-store.ts';
import { BlockFile, type HeldBytes, readAt } from './block-file.ts';
import type { OpenFile } from './open-files.ts';
import type { PinningReader } from './eviction.ts';

/** A reader slower than 1 MiB/s must not hold blocks that others could use. */
const QUICK_BYTES_PER_MS = 1024;
/** More than the buffer of a socket takes at once, which says nothing about the pace of its reader. */
const QUICK_AGAIN_BYTES = 8 * 1024 * 1024;
/** All the memory that a slow reader takes: a thousand of them may crawl along together. */
const SMALL_READ_BYTES = 16 * 1024;
/** The first read, for which the first byte waits, and the reads of a quick reader while no block is free. */
const FIRST_READ_BYTES = 64 * 1024;
/** A reader further behind the end of a file that grows reads from the file: 14 stalled readers had 16 MiB kept for them. */
const CLOSE_BEHIND_BYTES = 2 * 1024 * 1024;
/** A reader that has taken nothing for so long is slow, too, before its next read shows it. */
const STALLED_MS = 250;

export class FileReading {
  readonly #file: BlockFile;
  #reading: Promise<unknown> | undefined;
  #held: HeldBytes | undefined;
  #ahead: { readonly offset: number; readonly held: Promise<HeldBytes | undefined> } | undefined;
  #own: Buffer | undefined;
  #handedOutBytes = 0;
  /** Behind the last byte that was handed out. */
  #readEnd = 0;
  /** No reader is slow at the start. */
  #handedOutAt = Infinity;
  /** Since it was last slow. */
  #quickBytes = QUICK_AGAIN_BYTES;

  constructor(file: BlockFile) {
    this.#file = file;
  }

  /**
   * Bytes from `offset` on, valid until the next call, once `written` says how far the file has been written. Rejects with
   * StoreFailedError, or with what `written` rejects with.
   */
  read(offset: number, written: number | Promise<number>): Promise<Uint8Array> {
    const reading = this.#read(offset, written);
    this.#reading = reading;
    return reading;
  }

  /** Whether its client has taken bytes below 1 MiB/s lately, or takes none. */
  get isSlow(): boolean {
    return !this.#isQuick || performance.now() - this.#handedOutAt > STALLED_MS;
  }

  /** Whether a client takes the bytes before `offset` now, so that it wants those behind it soon. */
  follows(offset: number): boolean {
    return !this.isSlow && offset - this.#readEnd <= CLOSE_BEHIND_BYTES;
  }

  /** Lets go of the file; bytes that were handed out stay valid until `close`. Fulfils when the system reads nothing more. */
  async detach(): Promise<void> {
    await this.#reading?.catch(() => undefined);
    await this.#dropAhead();
  }

  /** Fulfils when the system reads nothing more: the descriptor may be another file's as soon as it is closed. */
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
    // A reader that never asks for the block does not hear of the error.
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
  /** The file is no longer as it was when it was opened. */
  onDamage(): void;
  /** Neither this reader nor the system uses the file any more. */
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
    // The room of a file that fits into memory is not worth taking away.
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
