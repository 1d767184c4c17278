/** Makes room by evicting entries, by ending slow readers, and by lowering the limit when the volume is full. */
import { statfs } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { StoreFailedError, StoreFullError } from '../../domain/errors.ts';
import { allocated, type Entry, type Ledger, type Room } from './ledger.ts';
import { isOutOfSpace } from '../blobs/blob-file.ts';

/** The number of entries that are evicted in one turn; removing a file takes about 20 µs. */
const EVICTED_AT_ONCE = 256;
/** The attempts of a write. Each evicts as much as the write needs, but other processes may write to the volume, too. */
const MAX_TRIES = 4;

interface EvictionOptions {
  readonly ledger: Ledger;
  /** Removes an entry without readers and its file. @throws StoreFailedError if the file, and with it the entry, stays */
  readonly remove: (entry: Entry) => void;
}

export class Eviction {
  readonly #ledger: Ledger;
  readonly #remove: (entry: Entry) => void;
  #evicted = 0;
  /** The reason why the limit is lower than the configured maximum. */
  #lowered: unknown;

  constructor({ ledger, remove }: EvictionOptions) {
    this.#ledger = ledger;
    this.#remove = remove;
  }

  /** The number of evicted entries. */
  get evicted(): number {
    return this.#evicted;
  }

  /**
   * Takes the room of a file of `end` bytes. Only as many entries are evicted as the new bytes need, so that one turn never
   * evicts a whole cache. @throws StoreFailedError if readers use the entries or the disk does not remove their files.
   */
  grow(room: Room, end: number): void {
    const missing = room.missing(end);
    if (missing === 0) return;
    if (!this.#evictUntil(this.#ledger.limit - missing)) {
      const isLowered = this.#ledger.limit < this.#ledger.maxBytes;
      throw new StoreFailedError({ cause: isLowered ? this.#lowered : new StoreFullError() });
    }
    room.take(end);
  }

  /**
   * Writes `bytes` bytes whose room is taken, again after an eviction if the volume is full.
   * @throws StoreFailedError: a full or broken disk is a failure of the store, and the upstream can still answer the request.
   */
  async withRoom<Result>(bytes: number, write: () => Promise<Result>): Promise<Result> {
    for (let tries = 1; ; tries++) {
      try {
        return await write();
      } catch (cause) {
        if (!isOutOfSpace(cause) || tries === MAX_TRIES || !this.relieve(bytes, cause))
          throw new StoreFailedError({ cause });
      }
    }
  }

  /**
   * Called when the volume has no block for a write of `bytes` bytes whose room is taken: evicts as many bytes and lowers the
   * limit to the present size. Returns whether a second attempt can succeed. @throws StoreFailedError if files cannot be removed.
   */
  relieve(bytes: number, cause: unknown): boolean {
    this.#lowered = cause;
    const onDisk = this.#ledger.bytes - allocated(bytes);
    const before = this.#evicted;
    this.#evictUntil(onDisk);
    this.#ledger.limit = Math.max(this.#ledger.bytes, onDisk);
    return this.#evicted > before;
  }

  /**
   * Raises a lowered limit to the present room of the volume. Resolves with false if a blob of `size` bytes cannot fit, even
   * with all others evicted. Then it is refused before its download begins, and its clients share a bypassing download.
   */
  async recheck(directory: string, size: number): Promise<boolean> {
    const isLowered = this.#ledger.limit < this.#ledger.maxBytes;
    // The room of cached blobs is sufficient. A query of the volume would cost each download a turn of the thread pool.
    if (!isLowered && size <= this.#ledger.bytes) return true;
    try {
      const { blocks, bavail, bsize } = await statfs(directory);
      const onVolume = this.#ledger.bytes + bavail * bsize;
      if (this.#ledger.limit < this.#ledger.maxBytes) this.#ledger.limit = onVolume;
      // Some file systems do not report their size.
      return blocks === 0 || size <= onVolume;
    } catch {
      // The following write will report the error.
      return true;
    }
  }

  /** Evicts the entries that exceed a lowered limit, in turns of a few milliseconds. */
  async fit(): Promise<void> {
    try {
      while (!this.#evictUntil(this.#ledger.limit, EVICTED_AT_ONCE)) await nextTurn();
    } catch {
      // The disk holds on to the files: they count, and the next download tries again.
    }
  }

  /** Returns false if more than `bytes` are left. */
  #evictUntil(bytes: number, most = Infinity): boolean {
    const last = this.#evicted + most;
    for (const entry of this.#ledger.evictable()) {
      if (this.#ledger.bytes <= bytes || this.#evicted === last) break;
      this.#remove(entry);
      this.#evicted++;
    }
    return this.#ledger.bytes <= bytes;
  }
}

/** A reader that pins an entry for one or several clients. */
export interface PinningReader {
  /** Whether all its clients read below the lowest acceptable rate. */
  readonly isSlow: boolean;
  /**
   * Releases the file. The last returned bytes stay valid until the next read, which rejects with EvictedError. Resolves when
   * the entry is unpinned.
   */
  revoke(): Promise<void>;
}

/** Takes blobs from readers that are too slow when others need the room, so that a few stalled clients cannot block the cache. */
export class SlowReaders {
  readonly #ledger: Ledger;
  readonly #readers = new Map<Entry, Set<PinningReader>>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  add(entry: Entry, reader: PinningReader): void {
    const readers = this.#readers.get(entry);
    if (readers === undefined) this.#readers.set(entry, new Set([reader]));
    else readers.add(reader);
  }

  remove(entry: Entry, reader: PinningReader): void {
    const readers = this.#readers.get(entry);
    readers?.delete(reader);
    if (readers?.size === 0) this.#readers.delete(entry);
  }

  /**
   * Makes room for a blob of `size` bytes that does not fit next to the blobs with readers: unpins the least recently used
   * entries that only slow readers pin. Undefined, without any effect, if that would not be enough.
   */
  giveWay(size: number): Promise<Room | undefined> {
    // One at a time, so that the next call takes the unpinned entries into account.
    const room = this.#last.then(() => this.#giveWay(size));
    this.#last = room;
    return room;
  }

  /** Whether `giveWay` would find room now. */
  canGiveWay(size: number): boolean {
    return this.#choose(size) !== undefined;
  }

  async #giveWay(size: number): Promise<Room | undefined> {
    const chosen = this.#choose(size);
    if (chosen === undefined) return undefined;
    await Promise.all(chosen.map((reader) => reader.revoke()));
    return this.#ledger.reserve(size);
  }

  /** The slow readers of enough entries for a blob of `size` bytes; undefined when there are not enough. */
  #choose(size: number): PinningReader[] | undefined {
    const missing = this.#ledger.missing(size);
    const chosen: PinningReader[] = [];
    let unpinned = 0;
    for (const entry of this.#ledger.list()) {
      if (unpinned >= missing) break;
      const readers = [...(this.#readers.get(entry) ?? [])];
      // The other pins belong to verifications before the first use.
      if (readers.length === 0 || readers.length < entry.readers || readers.some(({ isSlow }) => !isSlow)) continue;
      chosen.push(...readers);
      unpinned += allocated(entry.size);
    }
    return unpinned < missing ? undefined : chosen;
  }
}
