/** Makes room: within the budget, by slow readers, and on a volume that is full before the budget is. */
import { statfs } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { StoreFailedError, StoreFullError } from '../../domain/errors.ts';
import { allocated, type Entry, type Ledger, type Room } from './ledger.ts';
import { isOutOfSpace } from '../blobs/blob-file.ts';

/** Removing a file takes about 20 µs. */
const EVICTED_AT_ONCE = 256;

interface EvictionOptions {
  readonly ledger: Ledger;
  /** Removes an entry that nothing reads, and its file. @throws StoreFailedError when the file stays, and with it the entry. */
  readonly remove: (entry: Entry) => void;
}

export class Eviction {
  readonly #ledger: Ledger;
  readonly #remove: (entry: Entry) => void;
  #evicted = 0;
  /** Why the budget is lower than it was set. */
  #lowered: unknown;

  constructor({ ledger, remove }: EvictionOptions) {
    this.#ledger = ledger;
    this.#remove = remove;
  }

  /** Entries that left to make room. */
  get evicted(): number {
    return this.#evicted;
  }

  /** For a file that takes `room` as it grows. */
  growing(room: Room): GrowingRoom {
    return {
      grow: (end) => {
        this.grow(room, end);
      },
      relieve: (bytes, cause) => this.relieve(bytes, cause),
    };
  }

  /**
   * Takes the room of a file of `end` bytes, for which no more entries leave than its new bytes need: a turn evicts what one
   * write replaces, and never a whole cache. @throws StoreFailedError when readers or the disk hold on to the room.
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
   * For a write of `bytes` bytes, whose room is taken and for which the volume has no block: evicts as much as it needs and
   * lets the budget be what is there. Says whether a second try has a chance. @throws StoreFailedError when files stay.
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
   * Raises a lowered budget to the present room of the volume. False when a blob of `size` bytes cannot fit, even with all
   * others evicted: it is refused before its download begins, and all its clients share one that passes through.
   */
  async recheck(directory: string, size: number): Promise<boolean> {
    const isLowered = this.#ledger.limit < this.#ledger.maxBytes;
    // The room of cached blobs is enough, and a question to the volume costs each download a turn of the thread pool.
    if (!isLowered && size <= this.#ledger.bytes) return true;
    try {
      const { blocks, bavail, bsize } = await statfs(directory);
      const onVolume = this.#ledger.bytes + bavail * bsize;
      if (this.#ledger.limit < this.#ledger.maxBytes) this.#ledger.limit = onVolume;
      // Some file systems do not say how large they are.
      return blocks === 0 || size <= onVolume;
    } catch {
      // The write that follows says what is wrong.
      return true;
    }
  }

  /** Evicts what a smaller budget has no room for, in turns of a few milliseconds. */
  async fit(): Promise<void> {
    try {
      while (!this.#evictUntil(this.#ledger.limit, EVICTED_AT_ONCE)) await nextTurn();
    } catch {
      // The disk holds on to the files: they count, and the next download tries again.
    }
  }

  /** False when more than `bytes` are left. */
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

/** Each try evicts as much as the write needs; other processes may write on the volume, too. */
const MAX_TRIES = 4;

export interface Relief {
  /** The volume has no block for `bytes` bytes, as `cause` says: returns whether it may have one now. @throws StoreFailedError */
  relieve(bytes: number, cause: unknown): boolean;
}

/** The room of a file that grows. */
export interface GrowingRoom extends Relief {
  /** Takes the room of the first `end` bytes. @throws StoreFailedError when it is not there any more. */
  grow(end: number): void;
}

/**
 * @throws StoreFailedError: a full or broken disk is the store's failure, not the upstream's, and the request can still be
 * answered from there.
 */
export async function withRoom<Result>(relief: Relief, bytes: number, write: () => Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries++) {
    try {
      return await write();
    } catch (cause) {
      if (!isOutOfSpace(cause) || tries === MAX_TRIES || !relief.relieve(bytes, cause))
        throw new StoreFailedError({ cause });
    }
  }
}

/** Something that pins an entry for one or several clients. */
export interface PinningReader {
  /** Whether all its clients take bytes below the floor pace. */
  readonly isSlow: boolean;
  /**
   * Lets go of the file. Bytes that were handed out stay valid until the next read, which rejects with EvictedError.
   * Fulfils once the entry is unpinned.
   */
  revoke(): Promise<void>;
}

/** Takes blobs away from readers that are too slow, when others need the room: a few stalled clients cannot hold a cache. */
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
   * Room for a blob of `size` bytes that does not fit beside what is being read: the least recently used entries that only
   * slow readers pin become evictable. Undefined, and no reader loses anything, when that is not enough.
   */
  giveWay(size: number): Promise<Room | undefined> {
    // One at a time: the next one sees what this one has unpinned.
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
      // Other pins are those of checks before the first use.
      if (readers.length === 0 || readers.length < entry.readers || readers.some(({ isSlow }) => !isSlow)) continue;
      chosen.push(...readers);
      unpinned += allocated(entry.size);
    }
    return unpinned < missing ? undefined : chosen;
  }
}
