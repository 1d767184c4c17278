/** PackageStore in a directory: content-addressed files and a maximum size in bytes. The directory is the only database. */
import { rmSync } from 'node:fs';
import type {
  BlobInfo,
  IncomingBlob,
  PackageStore,
  Reservation,
  SoughtBlob,
  StoredBlob,
  StoreInspection,
  StoreUsage,
} from '../../domain/ports/package-store.ts';
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import { errnoOf, type NoRoom, StoreFailedError, StoreFullError } from '../../domain/errors.ts';
import { ArrivalThread } from './arrival.ts';
import { BlockPool } from './block-file.ts';
import { Eviction, SlowReaders } from './eviction.ts';
import { GrowingFile } from './growing-file.ts';
import { Layout } from './layout.ts';
import { type Entry, infoOf, Ledger, type Room } from './ledger.ts';
import { OpenFiles } from './open-files.ts';
import { AccessTimes } from './access-times.ts';
import { leaveCleanMarker, scan } from './startup-scan.ts';
import { Scrubber } from './scrubber.ts';
import { StoreFailures } from './store-failures.ts';
import { readStoredFile } from './file-reading.ts';
import { WritableCheck } from './writable-check.ts';

interface FilesystemPackageStoreOptions {
  readonly directory: string;
  readonly maxBytes: number;
  /** The rate at which the scrub reads cached bytes; absent or 0: no scrub. */
  readonly scrubBytesPerSecond?: number;
}

/** The reason of a removal: eviction, a damaged file, or a new file with the same name. */
type RemovalCause = 'evicted' | 'damaged' | 'replaced';

export class FilesystemPackageStore implements PackageStore, StoreInspection {
  readonly #layout: Layout;
  readonly #ledger: Ledger;
  readonly #eviction: Eviction;
  readonly #readers: SlowReaders;
  readonly #check: WritableCheck;
  readonly #thread = new ArrivalThread();
  readonly #arriving = new Set<Promise<void>>();
  readonly #pool = new BlockPool();
  readonly #files = new OpenFiles(this.#pool, (entry) => this.#layout.blobs.pathOf(entry.digest));
  readonly #accessTimes = new AccessTimes((entry) => this.#layout.blobs.pathOf(entry.digest));
  readonly #scrubber: Scrubber | undefined;
  readonly #failures: StoreFailures;
  #damaged = 0;

  constructor({ directory, maxBytes, scrubBytesPerSecond = 0 }: FilesystemPackageStoreOptions) {
    this.#layout = new Layout(directory);
    this.#failures = new StoreFailures(this.#layout.blobs.path);
    this.#ledger = new Ledger(maxBytes);
    this.#readers = new SlowReaders(this.#ledger);
    this.#eviction = new Eviction({
      ledger: this.#ledger,
      remove: (entry) => {
        this.#remove(entry, 'evicted');
      },
    });
    this.#check = new WritableCheck(this.#layout, this.#eviction);
    if (scrubBytesPerSecond === 0) return;
    this.#scrubber = new Scrubber({
      bytesPerSecond: scrubBytesPerSecond,
      entries: () => this.#ledger.list(),
      pathOf: (entry) => this.#layout.blobs.pathOf(entry.digest),
      onDamage: (entry) => {
        this.#remove(entry, 'damaged');
      },
      hold: (entry) => {
        this.#ledger.pin(entry);
        return this.#unpin.bind(this, entry);
      },
    });
  }

  /** Scans the directory. Call this once, before any other method. @throws StoreFailedError if the directory cannot be used. */
  async load(): Promise<void> {
    this.#accessTimes.startAfter(await scan(this.#layout, this.#ledger));
    await this.#eviction.fit();
    this.#scrubber?.start();
  }

  /** Waits for arriving blobs, whose sources must have ended or been stopped. */
  async close(): Promise<void> {
    await this.#scrubber?.stop();
    await Promise.all(this.#arriving);
    await this.#thread.close();
    await this.#accessTimes.flush();
    this.#files.closeAll();
    // If the marker cannot be written, for example on a full disk, the next start verifies all blobs again.
    await leaveCleanMarker(this.#layout, this.#ledger).catch(() => undefined);
  }

  get usage(): StoreUsage {
    const { bytes, maxBytes, limit, entries } = this.#ledger;
    return {
      bytes,
      maxBytes,
      limitBytes: limit,
      failures: this.#failures.counts,
      entries,
      evicted: this.#eviction.evicted,
      damaged: this.#damaged,
      scrubbedBytes: this.#scrubber?.bytes ?? 0,
    };
  }

  list(most: number): BlobInfo[] {
    return this.#ledger.list().reverse().slice(0, most).map(infoOf);
  }

  info(digest: Digest): BlobInfo | undefined {
    return this.#ledger.info(digest);
  }

  /** @throws StoreFailedError if the directory cannot be written. */
  checkWritable(): Promise<void> {
    return this.#check.run();
  }

  async open({ digest, size, isUse = true }: SoughtBlob): Promise<StoredBlob | undefined> {
    const entry = this.#check.isHung ? undefined : this.#ledger.find(digest);
    if (entry === undefined) return undefined;
    const isAnother = size !== undefined && size !== entry.size;
    // If the bytes are verified, the descriptor is wrong; otherwise the file may be wrong.
    if (isAnother && entry.verifiedMs !== undefined) return undefined;
    if (!isAnother && isUse) this.#ledger.use(digest);
    this.#ledger.pin(entry);
    try {
      const file = await this.#files.open(entry);
      if (isAnother) {
        this.#unpin(entry);
        return undefined;
      }
      if (isUse) this.#accessTimes.use(entry);
      const reader = readStoredFile(file, {
        onDamage: () => {
          this.#remove(entry, 'damaged');
        },
        onClosed: () => {
          this.#readers.remove(entry, reader);
          this.#unpin(entry);
        },
      });
      this.#readers.add(entry, reader);
      return reader;
    } catch (cause) {
      this.#unpin(entry);
      // Too many open files do not mean that this file is damaged.
      if (errnoOf(cause) === 'EMFILE' || errnoOf(cause) === 'ENFILE') throw new StoreFailedError({ cause });
      this.#remove(entry, 'damaged');
      return undefined;
    }
  }

  async refusal(size: number): Promise<NoRoom | 'store-failed' | undefined> {
    if (this.#check.isHung) return 'store-failed';
    if (!(await this.#eviction.recheck(this.#layout.blobs.path, size))) return this.#ledger.noRoom(size);
    return this.#readers.canGiveWay(size) ? undefined : this.#ledger.noRoom(size);
  }

  async reserve(descriptor: Descriptor): Promise<Reservation> {
    this.#check.expectAnswer();
    const room = (await this.#eviction.recheck(this.#layout.blobs.path, descriptor.size))
      ? (this.#ledger.reserve(descriptor.size) ?? (await this.#readers.giveWay(descriptor.size)))
      : undefined;
    if (room === undefined) throw new StoreFullError(this.#ledger.noRoom(descriptor.size));
    try {
      const options = { thread: this.#thread, pool: this.#pool, eviction: this.#eviction, room };
      const file = await GrowingFile.create(this.#layout.newIngest(descriptor.digest), descriptor, options);
      return {
        write: (chunks) => this.#fill(descriptor, file, room, chunks),
        abort: async () => {
          await file.discard();
          room.release();
        },
      };
    } catch (error) {
      room.release();
      void this.#failures.count(error);
      throw error;
    }
  }

  #fill(descriptor: Descriptor, file: GrowingFile, room: Room, chunks: AsyncIterable<Uint8Array>): IncomingBlob {
    const settled = file.fill(chunks, this.#commit.bind(this, descriptor, room, file));
    const arrived = settled.catch(async (error: unknown) => {
      void this.#failures.count(error);
      // The bytes of a removed file stay on the disk while a reader has it open.
      await file.closed;
      room.release();
    });
    this.#arriving.add(arrived);
    void arrived.finally(() => this.#arriving.delete(arrived));
    return { read: () => file.read(), settled };
  }

  /** Synchronous, like all changes of cached blobs, so that directory and ledger change in the same turn. */
  #commit({ digest }: Descriptor, room: Room, file: GrowingFile, path: string): void {
    try {
      this.#layout.blobs.move(path, digest);
    } catch (cause) {
      throw new StoreFailedError({ cause });
    }
    const replaced = this.#ledger.find(digest);
    if (replaced !== undefined) this.#remove(replaced, 'replaced');
    const entry = room.commit(digest, new Date(), Date.now());
    this.#accessTimes.use(entry);
    this.#ledger.pin(entry);
    this.#readers.add(entry, file);
    void file.closed.then(() => {
      this.#readers.remove(entry, file);
      this.#unpin(entry);
    });
  }

  #unpin(entry: Entry): void {
    this.#ledger.unpin(entry);
    // The entry was removed while it was read, so its bytes were on the disk until now.
    if (!entry.kept && entry.readers === 0) this.#files.close(entry);
  }

  /** @throws StoreFailedError if the file of an evicted entry cannot be removed; the entry stays, too. */
  #remove(entry: Entry, cause: RemovalCause): void {
    if (!entry.kept) return;
    this.#ledger.remove(entry);
    if (entry.readers === 0) this.#files.close(entry);
    this.#scrubber?.letGo(entry);
    if (cause === 'damaged') this.#damaged++;
    if (cause === 'replaced') return;
    try {
      rmSync(this.#layout.blobs.pathOf(entry.digest), { recursive: true, force: true });
    } catch (error) {
      // A damaged file that cannot be removed is found by the next scan.
      if (cause === 'damaged') return;
      // The entry is counted as before, and requests still hit it.
      this.#ledger.restore(entry);
      throw new StoreFailedError({ cause: error });
    }
  }
}
