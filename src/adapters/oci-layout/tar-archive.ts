/** A tar archive as a directory of files to read: one pass over the headers finds the place of each file. */
import { realpath } from 'node:fs/promises';
import { InvalidContentError } from '../../domain/errors.ts';
import { closeNow, openBlob, readAt } from '../blobs/blob-file.ts';
import { isCompressed } from './layout.ts';
import {
  BLOCK,
  type Extension,
  isExtending,
  MAX_EXTENSION_BYTES,
  parseExtension,
  parseHeader,
} from '../../domain/tar-header.ts';

/** The place of a file's bytes in the archive. */
export interface FilePlace {
  readonly offset: number;
  readonly size: number;
}

/** About 10 000 images; a limit for hostile input. */
const MAX_ENTRIES = 50_000;
/** Blocks of zeros end an archive. */
const END = Buffer.alloc(BLOCK);
const CHUNK_BYTES = 512 * 1024;

export class TarArchive {
  readonly #fd: number;
  readonly #size: number;
  readonly #files = new Map<string, FilePlace>();

  private constructor(fd: number, size: number) {
    this.#fd = fd;
    this.#size = size;
  }

  /**
   * Rejects with InvalidContentError if the file is not a tar archive or ends in the middle of a file, with the reason of
   * `signal`, or with the error of the file system.
   */
  static async open(path: string, signal: AbortSignal): Promise<TarArchive> {
    const { fd, size } = await openBlob(await realpath(path));
    const archive = new TarArchive(fd, size);
    try {
      await archive.#index(signal);
      return archive;
    } catch (error) {
      archive.close();
      throw error;
    }
  }

  close(): void {
    closeNow(this.#fd);
  }

  /**
   * Returns a regular file by its name, without a leading slash or dot. Links are not followed. The last of several entries
   * with the same name counts, as for a program that unpacks.
   */
  find(name: string): FilePlace | undefined {
    return this.#files.get(name);
  }

  /** Rejects with InvalidContentError if the archive has become shorter, or with the error of the file system. */
  async read({ offset, size }: FilePlace): Promise<Buffer> {
    const bytes = Buffer.alloc(size);
    for (let at = 0; at < size;) at += await this.#readInto(bytes.subarray(at), offset + at);
    return bytes;
  }

  /**
   * Yields the bytes from `start` on. Each chunk is valid until the next one is requested. Rejects as `read`, or when
   * `signal` is aborted.
   */
  async *stream({ offset, size }: FilePlace, start: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    for (let at = start; at < size;) {
      signal.throwIfAborted();
      const count = await this.#readInto(buffer.subarray(0, Math.min(CHUNK_BYTES, size - at)), offset + at);
      yield buffer.subarray(0, count);
      at += count;
    }
  }

  async #readInto(bytes: Uint8Array, offset: number): Promise<number> {
    const count = await readAt(this.#fd, bytes, offset);
    if (count === 0) throw new InvalidContentError('archive has become shorter');
    return count;
  }

  async #index(signal: AbortSignal): Promise<void> {
    let [at, entries, extension]: [number, number, Extension] = [0, 0, {}];
    while (at + BLOCK <= this.#size) {
      signal.throwIfAborted();
      const block = await this.read({ offset: at, size: BLOCK });
      if (at === 0 && isCompressed(block)) throw new InvalidContentError('archive is compressed: decompress it first');
      if (block.equals(END)) break;
      if (++entries > MAX_ENTRIES)
        throw new InvalidContentError(`archive has more than ${String(MAX_ENTRIES)} entries`);
      const { kind, name, size } = parseHeader(block, extension);
      const place = { offset: at + BLOCK, size };
      at = place.offset + Math.ceil(size / BLOCK) * BLOCK;
      if (place.offset + size > this.#size) throw new InvalidContentError('archive ends in the middle of a file');
      if (!isExtending(kind)) {
        extension = {};
        this.#set(name.replace(/^(?:\.?\/)+/, ''), kind === 'file' ? place : undefined);
      } else {
        if (size > MAX_EXTENSION_BYTES) throw new InvalidContentError('archive has a header of more than 1 MiB');
        extension = parseExtension(kind, await this.read(place), extension);
      }
    }
    if (entries === 0) throw new InvalidContentError('file is not a tar archive');
  }

  #set(name: string, place: FilePlace | undefined): void {
    if (place === undefined) this.#files.delete(name);
    else this.#files.set(name, place);
  }
}
