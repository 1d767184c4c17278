/** Kept blobs that are ready to be read: descriptors that stay open between requests, and small files in memory. */
import { DigestMismatchError } from '../../domain/errors.ts';
import { Verifier } from '../../domain/verifier.ts';
import { closeFile, closeNow, openBlob, readWhole, verifyFile } from '../blobs/blob-file.ts';
import { BlockFile } from './block-file.ts';
import type { BlockPool } from './block-pool.ts';
import type { Entry } from './ledger.ts';

/** A file that one read brings whole needs no open descriptor. */
const SMALL_BYTES = 64 * 1024;
/** Descriptors at most. */
const MAX_DESCRIPTORS = 256;
/** Memory of small files at most: thousands of manifests, each of which would take four calls of the system. */
const MAX_MEMORY_BYTES = 16 * 1024 * 1024;
/** The memory of a small file beside its bytes. */
const OVERHEAD_BYTES = 512;

export interface OpenFile {
  readonly entry: Entry;
  /** A small file is all in memory. */
  readonly content: Uint8Array | BlockFile;
}

export class OpenFiles {
  /** Both in the order of their use: the first is the least recently used. */
  readonly #inMemory = new Map<Entry, OpenFile>();
  readonly #withDescriptor = new Map<Entry, OpenFile>();
  #memoryBytes = 0;
  readonly #opening = new Map<Entry, Promise<OpenFile>>();
  readonly #pool: BlockPool;
  readonly #pathOf: (entry: Entry) => string;

  constructor(pool: BlockPool, pathOf: (entry: Entry) => string) {
    this.#pool = pool;
    this.#pathOf = pathOf;
  }

  /**
   * The file of an entry, which must stay pinned for as long as it is read. Rejects with the error of the file system, or
   * with DigestMismatchError when it is another file; a file that is not verified yet is read whole before.
   */
  async open(entry: Entry): Promise<OpenFile> {
    const files = this.#filesLike(entry);
    const opened = files.get(entry);
    if (opened !== undefined) {
      files.delete(entry);
      files.set(entry, opened);
      return opened;
    }
    const opening = this.#opening.get(entry) ?? this.#open(entry);
    this.#opening.set(entry, opening);
    try {
      return await opening;
    } finally {
      this.#opening.delete(entry);
    }
  }

  /** Closes a file without readers, at once: with its descriptor the bytes of a removed file leave the disk. */
  close(entry: Entry): void {
    const files = this.#filesLike(entry);
    const content = files.get(entry)?.content;
    if (content === undefined) return;
    files.delete(entry);
    if (content instanceof BlockFile) {
      content.forget();
      closeNow(content.fd);
    } else {
      this.#memoryBytes -= memoryOf(entry);
    }
  }

  closeAll(): void {
    for (const files of [this.#inMemory, this.#withDescriptor]) for (const entry of files.keys()) this.close(entry);
  }

  #filesLike({ size }: Entry): Map<Entry, OpenFile> {
    return size <= SMALL_BYTES ? this.#inMemory : this.#withDescriptor;
  }

  async #open(entry: Entry): Promise<OpenFile> {
    const { fd, size } = await openBlob(this.#pathOf(entry));
    let content: OpenFile['content'] = new BlockFile(fd, this.#pool);
    try {
      if (size !== entry.size) throw new DigestMismatchError(`${String(entry.size)} bytes`, `${String(size)} bytes`);
      if (entry.size <= SMALL_BYTES) content = await readWhole(fd, entry.size);
      if (entry.verifiedMs === undefined) {
        if (content instanceof BlockFile) await verifyFile(fd, entry);
        else verify(content, entry);
        entry.verifiedMs = Date.now();
      }
    } catch (error) {
      await closeFile(fd);
      throw error;
    }
    if (!(content instanceof BlockFile)) await closeFile(fd);
    const file: OpenFile = { entry, content };
    this.#filesLike(entry).set(entry, file);
    if (!(content instanceof BlockFile)) this.#memoryBytes += memoryOf(entry);
    this.#closeSurplus(this.#inMemory, () => this.#memoryBytes > MAX_MEMORY_BYTES);
    this.#closeSurplus(this.#withDescriptor, () => this.#withDescriptor.size > MAX_DESCRIPTORS);
    return file;
  }

  #closeSurplus(files: ReadonlyMap<Entry, OpenFile>, isTooMuch: () => boolean): void {
    for (const entry of files.keys()) {
      if (!isTooMuch()) return;
      if (entry.readers === 0) this.close(entry);
    }
  }
}

function memoryOf({ size }: Entry): number {
  return size + OVERHEAD_BYTES;
}

/** @throws DigestMismatchError */
function verify(bytes: Uint8Array, entry: Entry): void {
  const verifier = new Verifier(entry);
  verifier.update(bytes);
  verifier.verify();
}
