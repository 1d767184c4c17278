/** A file that is read while it is written: the disk is the buffer between one download and any number of readers. */
import { ftruncate } from 'node:fs';
import { rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Descriptor } from '../../domain/descriptor.ts';
import { DigestMismatchError, EvictedError, StoreFailedError } from '../../domain/errors.ts';
import type { BlobReader } from '../../domain/ports/package-store.ts';
import { presentable } from '../../domain/verifier.ts';
import { closeNow, openNew } from '../blobs/blob-file.ts';
import { type Arrival, type ArrivalThread, beginArrival, expectArrival } from './arrival.ts';
import { BlockFile, type BlockPool } from './block-file.ts';
import { FileReading } from './file-reading.ts';
import type { Eviction, PinningReader } from './eviction.ts';
import type { Room } from './ledger.ts';

const truncateFile = promisify(ftruncate);
/** A file of at most this size, such as a manifest, is one write, for which a node waits. */
const ONE_WRITE_BYTES = 64 * 1024;

interface GrowingFileOptions {
  readonly thread: ArrivalThread;
  readonly pool: BlockPool;
  readonly eviction: Eviction;
  readonly room: Room;
}

interface Reader {
  readonly reading: FileReading;
  isClosed: boolean;
  isRevoked: boolean;
}

export class GrowingFile implements PinningReader {
  readonly #descriptor: Descriptor;
  readonly #path: string;
  readonly #fd: number;
  readonly #options: GrowingFileOptions;
  readonly #blocks: BlockFile;
  /** The readers that still use the file. */
  readonly #readers = new Set<Reader>();
  /** The number of users: the download and the readers. The last one closes the descriptor. */
  #holders = 1;
  /** The number of bytes from the first on that readers may get. */
  #readable = 0;
  #isProved = false;
  #failure: { readonly error: unknown } | undefined;
  #growth: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #closed: PromiseWithResolvers<void> = Promise.withResolvers();

  private constructor(descriptor: Descriptor, path: string, fd: number, options: GrowingFileOptions) {
    this.#descriptor = descriptor;
    this.#path = path;
    this.#fd = fd;
    this.#options = options;
    this.#blocks = new BlockFile(fd, options.pool);
  }

  /** @throws StoreFailedError */
  static async create(path: string, descriptor: Descriptor, options: GrowingFileOptions): Promise<GrowingFile> {
    const fd = await options.eviction.withRoom(1, () => openNew(path));
    const file = new GrowingFile(descriptor, path, fd, options);
    expectArrival(descriptor, options.thread);
    try {
      // XFS allocates up to twice the size of a growing file unless its size is set before. This takes no block.
      if (descriptor.size > ONE_WRITE_BYTES) await truncateFile(fd, descriptor.size);
    } catch (cause) {
      await file.discard();
      throw new StoreFailedError({ cause });
    }
    return file;
  }

  /** Resolves when the writer and all readers have ended. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /**
   * Writes and verifies all `chunks`, lets `keep` rename the file, and then releases its end to the readers. Readers get the
   * whole verified file even if it cannot be cached.
   */
  async fill(chunks: AsyncIterable<Uint8Array>, keep: (path: string) => void): Promise<void> {
    const arrival = beginArrival(this.#descriptor, this.#fd, this.#options.thread);
    try {
      await this.#write(chunks, arrival).catch((error: unknown) => {
        arrival.abandon();
        throw error;
      });
      await arrival.conclude();
    } catch (error) {
      await this.#remove();
      this.#fail(error);
      this.#endFill();
      throw error;
    }
    try {
      keep(this.#path);
    } catch (error) {
      await this.#remove();
      throw error;
    } finally {
      this.#isProved = true;
      this.#grow(this.#descriptor.size);
      this.#endFill();
    }
  }

  /** Removes the file before its download has begun. */
  async discard(): Promise<void> {
    await this.#remove();
    this.#letGo();
  }

  read(): BlobReader {
    this.#holders++;
    const { size } = this.#descriptor;
    const reading = new FileReading(this.#blocks);
    const reader: Reader = { reading, isClosed: false, isRevoked: false };
    this.#readers.add(reader);
    return {
      size,
      read: async (offset) => {
        if (reader.isRevoked && offset < size) throw new EvictedError();
        const written = this.#writtenBeyond(offset, reader);
        if (offset < size) return reading.read(offset, written);
        await written;
        return new Uint8Array();
      },
      close: async () => {
        reader.isClosed = true;
        this.#wake();
        await reading.close();
        if (this.#readers.delete(reader)) this.#letGo();
      },
    };
  }

  get isSlow(): boolean {
    return this.#isProved && this.#readers.values().every(({ reading }) => reading.isSlow);
  }

  async revoke(): Promise<void> {
    const readers = [...this.#readers];
    this.#readers.clear();
    await Promise.all(
      readers.map(async (reader) => {
        reader.isRevoked = true;
        await reader.reading.detach();
        this.#letGo();
      }),
    );
    await this.closed;
  }

  /**
   * The download settles in the turn in which its readers get its end. Its descriptor is closed in a later turn, because a
   * request that has found this download may still open a reader.
   */
  #endFill(): void {
    setImmediate(() => {
      this.#letGo();
    });
  }

  async #remove(): Promise<void> {
    await rm(this.#path, { force: true }).catch(() => undefined);
  }

  async #write(chunks: AsyncIterable<Uint8Array>, arrival: Arrival): Promise<void> {
    const { size } = this.#descriptor;
    const { eviction, room } = this.#options;
    let written = 0;
    for await (const chunk of chunks) {
      // Checked before the write, because no more room is reserved.
      if (written + chunk.byteLength > size) throw new DigestMismatchError(`${String(size)} bytes`, 'more bytes');
      for (let done = 0; done < chunk.byteLength;) {
        const [rest, at] = [chunk.subarray(done), written + done];
        eviction.grow(room, at + rest.byteLength);
        done += await eviction.withRoom(rest.byteLength, () => arrival.write(rest, at));
      }
      if (this.#isFollowed(written)) this.#blocks.keep(written, chunk);
      written += chunk.byteLength;
      this.#grow(presentable(written, size));
    }
    if (written !== size) throw new DigestMismatchError(`${String(size)} bytes`, `${String(written)} bytes`);
  }

  #isFollowed(written: number): boolean {
    return this.#readers.values().some(({ reading }) => reading.follows(written));
  }

  /** Waits for a byte at `offset`, or for the verification at the end; resolves with the number of readable bytes. */
  async #writtenBeyond(offset: number, reader: Reader): Promise<number> {
    while (offset >= this.#readable && !this.#isProved && !reader.isClosed) {
      if (this.#failure !== undefined) throw this.#failure.error;
      await this.#growth.promise;
    }
    if (reader.isClosed) throw new Error('reader is closed');
    return this.#readable;
  }

  #grow(readable: number): void {
    this.#readable = readable;
    this.#wake();
  }

  #fail(error: unknown): void {
    this.#failure = { error };
    this.#wake();
  }

  #wake(): void {
    const { resolve } = this.#growth;
    this.#growth = Promise.withResolvers();
    resolve();
  }

  #letGo(): void {
    if (--this.#holders > 0) return;
    this.#blocks.forget();
    closeNow(this.#fd);
    this.#closed.resolve();
  }
}
