/** Keeps descriptors of cached blobs open between requests, and small files in memory. */
import { DigestMismatchError } from '../../domain/errors.ts';
import { Verifier } from '../../domain/verifier.ts';
import { closeFile, closeNow, openBlob, readSmallBlob, verifyFile } from '../blobs/blob-file.ts';
import { BlockFile, type BlockPool } from './block-file.ts';
import type { Entry } from './ledger.ts';

/** A file of at most this size is read at once and kept in memory instead of a descriptor. */
const SMALL_BYTES = 64 * 1024;
/** The highest number of open descriptors. */
const MAX_DESCRIPTORS = 256;
/** The highest memory of small files: thousands of manifests, each of which would need two system calls. */
const MAX_MEMORY_BYTES = 16 * 1024 * 1024;
/** The memory of a small file in addition to its bytes. */
const OVERHEAD_BYTES = 512;

export interface OpenFile {
  readonly entry: Entry;
  /** The bytes of a small file, or the blocks of a large one. */
  readonly content: Uint8Array | BlockFile;
}

export class OpenFiles {
  /** Both maps are in the order of use; the first entry is the least recently used. */
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
   * Resolves with the file of an entry, which must stay pinned while it is read. A file that is not verified yet is verified
   * first. Rejects with the error of the file system, or with DigestMismatchError if the file is wrong.
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

  /** Closes a file without readers at once, because the disk frees the bytes of a removed file only then. */
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
    const path = this.#pathOf(entry);
    const content = await (entry.size <= SMALL_BYTES ? readSmall(path, entry) : this.#openLarge(path, entry));
    const file: OpenFile = { entry, content };
    if (!(content instanceof BlockFile)) {
      if (!this.#isWorthMemory(entry)) return file;
      this.#memoryBytes += memoryOf(entry);
    }
    this.#filesLike(entry).set(entry, file);
    this.#closeSurplus(this.#inMemory, () => this.#memoryBytes > MAX_MEMORY_BYTES);
    this.#closeSurplus(this.#withDescriptor, () => this.#withDescriptor.size > MAX_DESCRIPTORS);
    return file;
  }

  /**
   * Returns false if memory is full of files that were all used since the last use of this one: if more files are requested in
   * turn than fit, each would be dropped before its next use.
   */
  #isWorthMemory(entry: Entry): boolean {
    const [oldest] = this.#inMemory.keys();
    const isFull = this.#memoryBytes + memoryOf(entry) > MAX_MEMORY_BYTES;
    return !isFull || oldest === undefined || entry.usedMs >= oldest.usedMs;
  }

  async #openLarge(path: string, entry: Entry): Promise<BlockFile> {
    const { fd, size } = await openBlob(path);
    try {
      checkSize(entry, size);
      if (entry.verifiedMs === undefined) {
        await verifyFile(fd, entry);
        entry.verifiedMs = Date.now();
      }
      return new BlockFile(fd, this.#pool);
    } catch (error) {
      await closeFile(fd);
      throw error;
    }
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
async function readSmall(path: string, entry: Entry): Promise<Uint8Array> {
  const bytes = await readSmallBlob(path, entry.size);
  checkSize(entry, bytes.byteLength);
  if (entry.verifiedMs === undefined) {
    const verifier = new Verifier(entry);
    verifier.update(bytes);
    verifier.verify();
    entry.verifiedMs = Date.now();
  }
  return bytes;
}

/** @throws DigestMismatchError */
function checkSize(entry: Entry, found: number): void {
  if (found !== entry.size) throw new DigestMismatchError(`${String(entry.size)} bytes`, `${String(found)} bytes`);
}
