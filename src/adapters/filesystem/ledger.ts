/** The accounts of the store: who is kept, in which order they leave, and how many bytes are spoken for. */
import type { Digest } from '../../domain/digest.ts';

/** One kept blob. Only the ledger changes `readers` and `kept`. */
export interface Entry {
  readonly digest: Digest;
  /** Bytes of the blob. */
  readonly size: number;
  readonly storedAt: Date;
  /** Milliseconds since 1970. */
  usedMs: number;
  /** When it was last proved; undefined until what an unclean stop left behind has been proved again. */
  verifiedMs: number | undefined;
  readers: number;
  kept: boolean;
}

/** What a volume counts and the kubelet with it: files take whole blocks. */
const BLOCK_BYTES = 4096;

/** Bytes that a file of `size` bytes takes from a volume. */
export function allocated(size: number): number {
  return Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
}

/**
 * Synchronous and whole: between two `await`s of its callers everything adds up. `bytes` never exceeds `maxBytes`, because
 * room is reserved before the first byte is written, and because an entry that is being read is not evicted: its bytes
 * would stay on the disk, unlinked, for as long as the reader does.
 */
export class Ledger {
  readonly maxBytes: number;
  /** In the order of their use: the first is the least recently used. */
  readonly #entries = new Map<Digest, Entry>();
  #keptBytes = 0;
  /** Room of blobs on their way in, and of removed ones that somebody still reads. */
  #reservedBytes = 0;
  /** The part of the kept bytes that cannot leave now. */
  #pinnedBytes = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** Bytes of the volume that are taken or spoken for. */
  get bytes(): number {
    return this.#keptBytes + this.#reservedBytes;
  }

  get entries(): number {
    return this.#entries.size;
  }

  /** Speaks for the room of a blob of `size` bytes; says who left for it, or undefined when there can be no room now. */
  reserve(size: number): Entry[] | undefined {
    const bytes = allocated(size);
    if (this.#reservedBytes + this.#pinnedBytes + bytes > this.maxBytes) return undefined;
    this.#reservedBytes += bytes;
    return this.evictSurplus();
  }

  /** Removes the least recently used entries that nobody reads until the rest fits, and says which. */
  evictSurplus(): Entry[] {
    const evicted: Entry[] = [];
    for (const entry of this.#entries.values()) {
      if (this.bytes <= this.maxBytes) break;
      if (entry.readers > 0) continue;
      this.remove(entry);
      evicted.push(entry);
    }
    return evicted;
  }

  /** Gives the reservation of a blob of `size` bytes back. */
  release(size: number): void {
    this.#reservedBytes -= allocated(size);
  }

  /** Takes back entries that nobody reads and that could not leave; they are the next to try it. */
  restore(entries: readonly Entry[]): void {
    const others = [...this.#entries.values()];
    this.#entries.clear();
    for (const entry of [...entries, ...others]) this.#entries.set(entry.digest, entry);
    for (const entry of entries) {
      entry.kept = true;
      this.#keptBytes += allocated(entry.size);
    }
  }

  /** Enters a blob as the most recently used. A reservation for it is to be released in the same breath. */
  add(digest: Digest, size: number, storedAt: Date, verifiedMs: number | undefined): Entry {
    const entry: Entry = { digest, size, storedAt, usedMs: storedAt.getTime(), verifiedMs, readers: 0, kept: true };
    this.#entries.set(digest, entry);
    this.#keptBytes += allocated(size);
    return entry;
  }

  /** The entry, from now on the most recently used. */
  use(digest: Digest): Entry | undefined {
    const entry = this.#entries.get(digest);
    if (entry !== undefined) {
      this.#entries.delete(digest);
      this.#entries.set(digest, entry);
    }
    return entry;
  }

  /** The least recently used first. */
  list(): Entry[] {
    return [...this.#entries.values()];
  }

  /** The entry, without using it. */
  find(digest: Digest): Entry | undefined {
    return this.#entries.get(digest);
  }

  /** Keeps the entry from being evicted until as many `unpin`s. */
  pin(entry: Entry): void {
    if (entry.readers++ === 0) this.#pinnedBytes += allocated(entry.size);
  }

  unpin(entry: Entry): void {
    if (--entry.readers > 0) return;
    if (entry.kept) this.#pinnedBytes -= allocated(entry.size);
    else this.#reservedBytes -= allocated(entry.size);
  }

  remove(entry: Entry): void {
    if (!entry.kept) return;
    entry.kept = false;
    this.#entries.delete(entry.digest);
    this.#keptBytes -= allocated(entry.size);
    if (entry.readers > 0) {
      this.#pinnedBytes -= allocated(entry.size);
      this.#reservedBytes += allocated(entry.size);
    }
  }
}
