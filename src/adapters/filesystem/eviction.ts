/** Makes room: within the budget, and on a volume that is full before the budget is. */
import { statfs } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { StoreFailedError, StoreFullError } from '../../domain/errors.ts';
import type { GrowingRoom } from './growing-file.ts';
import { allocated, type Entry, type Ledger, type Room } from './ledger.ts';

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
