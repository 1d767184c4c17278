/** The index of the store: its entries in the order of their use, and the bytes of the volume that are taken or reserved. */
import type { Digest } from '../../domain/descriptor.ts';
import type { NoRoom } from '../../domain/errors.ts';
import type { BlobInfo } from '../../domain/ports/package-store.ts';

/** One cached blob. Only the ledger changes `readers` and `kept`. */
export interface Entry {
  readonly digest: Digest;
  /** The size of the blob in bytes. */
  readonly size: number;
  readonly storedAt: Date;
  /** Milliseconds since 1970. */
  usedMs: number;
  /** The time of the last verification; undefined after an unclean stop until the next verification. */
  verifiedMs: number | undefined;
  /** Whether its bytes are synced, so that they survive a power loss. */
  isSynced: boolean;
  readers: number;
  kept: boolean;
}

/** Files take whole blocks, which the volume and the kubelet count. */
const BLOCK_BYTES = 4096;

/** The bytes that a file of `size` bytes takes on a volume. */
export function allocated(size: number): number {
  return Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
}

/** The room of one arriving blob: reserved completely, and taken as bytes arrive. It ends with one `commit` or `release`. */
export interface Room {
  /** The additional bytes of the volume that a file of `end` bytes takes. */
  missing(end: number): number;
  /** Takes the room of a file of `end` bytes, which must be free. */
  take(end: number): void;
  /** Turns the room into an entry, which is the most recently used. */
  commit(digest: Digest, storedAt: Date, verifiedMs: number): Entry;
  /** Releases the whole room. */
  release(): void;
}

/**
 * All methods are synchronous, so the sums are consistent between two `await`s of a caller. `bytes` never exceeds `maxBytes`,
 * because room is taken before bytes are written, and because an entry with readers is not evicted: its unlinked bytes would
 * stay on the disk as long as the readers. Reserved room evicts nothing, so a download that never sends a byte costs no entry.
 */
export class Ledger {
  readonly maxBytes: number;
  /** The entries in the order of their use; the first is the least recently used. */
  readonly #entries = new Map<Digest, Entry>();
  #limit: number;
  #keptBytes = 0;
  /** The bytes of arriving blobs, and of removed blobs with readers. */
  #reservedBytes = 0;
  /** The bytes that are reserved for arriving blobs and not taken yet. */
  #promisedBytes = 0;
  /** The bytes of cached blobs that cannot be evicted now. */
  #pinnedBytes = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
    this.#limit = maxBytes;
  }

  /** The bytes of the volume that are taken. */
  get bytes(): number {
    return this.#keptBytes + this.#reservedBytes;
  }

  get entries(): number {
    return this.#entries.size;
  }

  /** The maximum size, or less if the volume has less room. */
  get limit(): number {
    return this.#limit;
  }

  set limit(bytes: number) {
    this.#limit = Math.max(0, Math.min(bytes, this.maxBytes));
  }

  /** The bytes that are missing for a blob of `size` bytes, because they are reserved, taken or have readers. */
  missing(size: number): number {
    return this.#reservedBytes + this.#promisedBytes + this.#pinnedBytes + allocated(size) - this.#limit;
  }

  /** The reason why there is no room for a blob of `size` bytes. */
  noRoom(size: number): NoRoom {
    return allocated(size) > this.maxBytes ? 'store-too-small' : 'store-full';
  }

  /** Reserves room for a blob of `size` bytes; undefined if the reserved, taken and read bytes leave no room. */
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

  /** Yields the entries that can be evicted, the least recently used first. The caller may remove each of them. */
  *evictable(): Generator<Entry> {
    for (const entry of this.#entries.values()) if (entry.readers === 0) yield entry;
  }

  /** Restores an entry without readers whose file could not be removed; it is the next one to evict. */
  restore(entry: Entry): void {
    const others = [...this.#entries.values()];
    this.#entries.clear();
    for (const each of [entry, ...others]) this.#entries.set(each.digest, each);
    entry.kept = true;
    this.#keptBytes += allocated(entry.size);
  }

  /** Adds a blob that is on the disk already, as the most recently used one. */
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

  /** Returns the entry and makes it the most recently used one. */
  use(digest: Digest): Entry | undefined {
    const entry = this.#entries.get(digest);
    if (entry !== undefined) {
      this.#entries.delete(digest);
      this.#entries.set(digest, entry);
    }
    return entry;
  }

  /** Returns all entries, the least recently used first. */
  list(): Entry[] {
    return [...this.#entries.values()];
  }

  /** Returns the entry without counting a use. */
  find(digest: Digest): Entry | undefined {
    return this.#entries.get(digest);
  }

  info(digest: Digest): BlobInfo | undefined {
    const entry = this.#entries.get(digest);
    return entry && infoOf(entry);
  }

  /** Prevents the eviction of the entry until `unpin` is called as often. */
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
