/** Takes blobs away from readers that are too slow, when others need the room: a few stalled clients cannot hold a cache. */
import { allocated, type Entry, type Ledger, type Room } from './ledger.ts';

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
