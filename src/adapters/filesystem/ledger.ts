/** The accounts of the store: its entries in the order of their use, and how many bytes of the volume are taken or promised. */
import type { Digest } from '../../domain/descriptor.ts';
import type { NoRoom } from '../../domain/errors.ts';
import type { BlobInfo } from '../../domain/ports/package-store.ts';

/** One kept blob. Only the ledger changes `readers` and `kept`. */
export interface Entry {
  readonly digest: Digest;
  /** Bytes of the blob. */
  readonly size: number;
  readonly storedAt: Date;
  /** Milliseconds since 1970. */
  usedMs: number;
  /** When it was last verified; undefined from an unclean stop until the next verification. */
  verifiedMs: number | undefined;
  /** Its bytes outlive a power loss. */
  isSynced: boolean;
  readers: number;
  kept: boolean;
}

/** Files take whole blocks, and the volume and the kubelet count blocks. */
const BLOCK_BYTES = 4096;

/** Bytes that a file of `size` bytes takes from a volume. */
export function allocated(size: number): number {
  return Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
}

/** The room of one blob that arrives: all of it is promised, and taken as its bytes arrive. It ends by one `commit` or `release`. */
export interface Room {
  /** Bytes of the volume that a file of `end` bytes takes beyond those taken so far. */
  missing(end: number): number;
  /** Takes the room of a file of `end` bytes, which must be free. */
  take(end: number): void;
  /** Enters the blob, which has the room from now on, as the most recently used. */
  commit(digest: Digest, storedAt: Date, verifiedMs: number): Entry;
  /** Gives all of it back. */
  release(): void;
}

/**
 * Synchronous and whole: between two `await`s of its callers everything adds up. `bytes` never exceeds `maxBytes`, because
 * room is taken before the bytes are written, and because an entry that is being read is not evicted: its bytes would stay
 * on the disk, unlinked, for as long as the reader does. Promised room evicts nothing: a download that never sends a byte
 * costs no entry.
 */
export class Ledger {
  readonly maxBytes: number;
  /** In the order of their use: the first is the least recently used. */
  readonly #entries = new Map<Digest, Entry>();
  #limit: number;
  #keptBytes = 0;
  /** Taken by arriving blobs, and by removed ones that are still read. */
  #reservedBytes = 0;
  /** Promised to arriving blobs and not taken yet. */
  #promisedBytes = 0;
  /** The part of the kept bytes that cannot leave now. */
  #pinnedBytes = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
    this.#limit = maxBytes;
  }

  /** Bytes of the volume that are taken. */
  get bytes(): number {
    return this.#keptBytes + this.#reservedBytes;
  }

  get entries(): number {
    return this.#entries.size;
  }

  /** The budget as far as the volume has room for it: `maxBytes` or less. */
  get limit(): number {
    return this.#limit;
  }

  set limit(bytes: number) {
    this.#limit = Math.max(0, Math.min(bytes, this.maxBytes));
  }

  /** Bytes that are promised, taken or read, and that would have to be free for a blob of `size` bytes. */
  missing(size: number): number {
    return this.#reservedBytes + this.#promisedBytes + this.#pinnedBytes + allocated(size) - this.#limit;
  }

  /** Why there is no room for a blob of `size` bytes. */
  noRoom(size: number): NoRoom {
    return allocated(size) > this.maxBytes ? 'store-too-small' : 'store-full';
  }

  /** Room for a blob of `size` bytes; undefined when it cannot fit beside what is promised, taken and read. */
  reserve(size: number): Room | undefined {
    const promised = allocated(size);
    if (this.missing(size) > 0) return undefined;
    this.#promisedBytes += promised;
    let taken = 0;
    let isEnded = false;
    const missing = (end: number): number => Math.max(0, allocated(end) - taken);
    const release = (): void => {
      if (isEnded) throw new Error('reservation was released before');
      isEnded = true;
      this.#reservedBytes -= taken;
      this.#promisedBytes -= promised - taken;
    };
    return {
      missing,
      take: (end) => {
        const more = missing(end);
        taken += more;
        this.#reservedBytes += more;
        this.#promisedBytes -= more;
      },
      commit: (digest, storedAt, verifiedMs) => {
        release();
        return this.add(digest, size, storedAt, verifiedMs);
      },
      release,
    };
  }

  /** The entries that can leave now, the least recently used first. The caller may remove each as it comes. */
  *evictable(): Generator<Entry> {
    for (const entry of this.#entries.values()) if (entry.readers === 0) yield entry;
  }

  /** Takes an entry without readers back, whose file could not be removed; it is the next to leave. */
  restore(entry: Entry): void {
    const others = [...this.#entries.values()];
    this.#entries.clear();
    for (const each of [entry, ...others]) this.#entries.set(each.digest, each);
    entry.kept = true;
    this.#keptBytes += allocated(entry.size);
  }

  /** Enters a blob that is on the disk already, as the most recently used. */
  add(digest: Digest, size: number, storedAt: Date, verifiedMs: number | undefined): Entry {
    const entry: Entry = {
      digest,
      size,
      storedAt,
      usedMs: storedAt.getTime(),
      verifiedMs,
      isSynced: false,
      readers: 0,
      kept: true,
    };
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

  info(digest: Digest): BlobInfo | undefined {
    const entry = this.#entries.get(digest);
    return entry && infoOf(entry);
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

export function infoOf({ digest, size, storedAt, usedMs, verifiedMs }: Entry): BlobInfo {
  const verifiedAt = verifiedMs === undefined ? undefined : new Date(verifiedMs);
  return { digest, size, storedAt, usedAt: new Date(usedMs), verifiedAt };
}
