/** PackageStore on a directory: content-addressed files, a budget in bytes, and no database but the directory itself. */
import { rmSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import type { KeptBlob, StoreInspection, StoreUsage } from '../../application/inspection.ts';
import type { Descriptor } from '../../domain/descriptor.ts';
import type { Digest } from '../../domain/digest.ts';
import { StoreFailedError, StoreFullError } from '../../domain/errors.ts';
import type { BlobSource, IncomingBlob, PackageStore, StoredBlob } from '../../domain/ports/package-store.ts';
import { BlockPool } from './block-pool.ts';
import { GrowingFile } from './growing-file.ts';
import { HashThread } from './hash-thread.ts';
import { Layout } from './layout.ts';
import { type Entry, Ledger } from './ledger.ts';
import { OpenFiles } from './open-files.ts';
import { Recency } from './recency.ts';
import { leaveCleanMarker, scan } from './recovery.ts';
import { Scrub } from './scrub.ts';
import { readStoredFile } from './stored-file.ts';

export interface FilesystemPackageStoreOptions {
  readonly directory: string;
  readonly maxBytes: number;
  /** How much of what is kept is read again in the background; nothing when absent or 0. */
  readonly scrubBytesPerSecond?: number;
}

export class FilesystemPackageStore implements PackageStore, StoreInspection {
  readonly #layout: Layout;
  readonly #ledger: Ledger;
  readonly #thread = new HashThread();
  readonly #arriving = new Set<Promise<void>>();
  readonly #pool = new BlockPool();
  readonly #files = new OpenFiles(this.#pool, (entry) => this.#pathOf(entry));
  readonly #recency = new Recency((entry) => this.#pathOf(entry));
  readonly #scrub: Scrub | undefined;
  #evicted = 0;
  #damaged = 0;
  #check: Promise<void> | undefined;

  constructor({ directory, maxBytes, scrubBytesPerSecond = 0 }: FilesystemPackageStoreOptions) {
    this.#layout = new Layout(directory);
    this.#ledger = new Ledger(maxBytes);
    if (scrubBytesPerSecond === 0) return;
    this.#scrub = new Scrub({
      bytesPerSecond: scrubBytesPerSecond,
      entries: () => this.#ledger.list(),
      pathOf: (entry) => this.#pathOf(entry),
      onDamage: (entry) => {
        this.#drop(entry);
      },
    });
  }

  /** Takes stock; to be called once, before anything else. @throws StoreFailedError when the directory cannot be used. */
  async load(): Promise<void> {
    this.#recency.startAfter(await scan(this.#layout, this.#ledger));
    this.#evict(this.#ledger.evictSurplus());
    this.#scrub?.start();
  }

  /** Waits for what is arriving, whose sources must have ended or been stopped. */
  async close(): Promise<void> {
    await this.#scrub?.stop();
    await Promise.all(this.#arriving);
    await this.#thread.close();
    await this.#recency.flush();
    this.#files.closeAll();
    // Without it, on a full disk, the next start proves everything again.
    await leaveCleanMarker(this.#layout, this.#ledger).catch(() => undefined);
  }

  get usage(): StoreUsage {
    const { bytes, maxBytes, entries } = this.#ledger;
    return {
      bytes,
      maxBytes,
      entries,
      evicted: this.#evicted,
      damaged: this.#damaged,
      scrubbedBytes: this.#scrub?.bytes ?? 0,
    };
  }

  kept(most: number): KeptBlob[] {
    return this.#ledger.list().reverse().slice(0, most).map(describe);
  }

  find(digest: Digest): KeptBlob | undefined {
    const entry = this.#ledger.find(digest);
    return entry && describe(entry);
  }

  /** Tries to make a file, one for all who ask meanwhile: it has one name. @throws StoreFailedError */
  checkWritable(): Promise<void> {
    this.#check ??= this.#makeFile().finally(() => (this.#check = undefined));
    return this.#check;
  }

  async #makeFile(): Promise<void> {
    const path = `${this.#layout.cleanMarker}.check`;
    try {
      await this.#layout.make();
      const handle = await open(path, 'w', 0o600);
      await handle.close();
      await rm(path);
    } catch (cause) {
      throw new StoreFailedError({ cause });
    }
  }

  async open(digest: Digest): Promise<StoredBlob | undefined> {
    const entry = this.#ledger.use(digest);
    if (entry === undefined) return undefined;
    this.#ledger.pin(entry);
    try {
      const file = await this.#files.open(entry);
      this.#recency.use(entry);
      return readStoredFile(file, {
        onDamage: () => {
          this.#drop(entry);
        },
        onClosed: () => {
          this.#unpin(entry);
        },
      });
    } catch (cause) {
      this.#unpin(entry);
      // Too many open files say nothing about this one.
      if (isCode(cause, 'EMFILE') || isCode(cause, 'ENFILE')) throw new StoreFailedError({ cause });
      this.#drop(entry);
      return undefined;
    }
  }

  async ingest(descriptor: Descriptor, source: BlobSource): Promise<IncomingBlob> {
    const evicted = this.#ledger.reserve(descriptor.size);
    if (evicted === undefined) throw new StoreFullError();
    const stuck = this.#evict(evicted);
    this.#evicted += evicted.length - stuck;
    let file: GrowingFile | undefined;
    try {
      if (stuck > 0) throw new StoreFailedError();
      file = await GrowingFile.create(this.#layout.newIngest(descriptor.digest), descriptor, {
        thread: this.#thread,
        pool: this.#pool,
      });
      const chunks = await source();
      return this.#fill(descriptor, file, chunks);
    } catch (error) {
      await file?.discard();
      this.#ledger.release(descriptor.size);
      throw error;
    }
  }

  #fill(descriptor: Descriptor, file: GrowingFile, chunks: AsyncIterable<Uint8Array>): IncomingBlob {
    const settled = file.fill(chunks, (path) => {
      this.#keep(descriptor, path, file.closed);
    });
    const arrived = settled.catch(async () => {
      // The bytes are on the disk for as long as somebody has the unlinked file open.
      await file.closed;
      this.#ledger.release(descriptor.size);
    });
    this.#arriving.add(arrived);
    void arrived.finally(() => this.#arriving.delete(arrived));
    return { read: () => file.read(), settled };
  }

  /** Synchronous, as are all changes of what is kept: directory and ledger change in the same breath. */
  #keep({ digest, size }: Descriptor, path: string, released: Promise<void>): void {
    try {
      this.#layout.moveToBlobs(path, digest);
    } catch (cause) {
      throw new StoreFailedError({ cause });
    }
    this.#ledger.release(size);
    const replaced = this.#ledger.use(digest);
    if (replaced !== undefined) this.#forget(replaced);
    const entry = this.#ledger.add(digest, size, new Date(), Date.now());
    this.#recency.use(entry);
    this.#ledger.pin(entry);
    void released.then(() => {
      this.#unpin(entry);
    });
  }

  #unpin(entry: Entry): void {
    this.#ledger.unpin(entry);
    // Removed while it was read: its bytes are on the disk until now.
    if (!entry.kept && entry.readers === 0) this.#files.close(entry);
  }

  #drop(entry: Entry): void {
    if (!entry.kept) return;
    this.#damaged++;
    this.#ledger.remove(entry);
    this.#unlink(entry);
  }

  /** Of an entry whose file has given its name to another one. */
  #forget(entry: Entry): void {
    this.#ledger.remove(entry);
    if (entry.readers === 0) this.#files.close(entry);
  }

  /** Says how many stay, because the disk does not let them go: they count as before, and hits they are still. */
  #evict(entries: readonly Entry[]): number {
    const stuck = entries.filter((entry) => !this.#unlink(entry));
    if (stuck.length > 0) this.#ledger.restore(stuck);
    return stuck.length;
  }

  #pathOf({ digest }: Entry): string {
    return this.#layout.blob(digest);
  }

  /** Says whether the file is gone; if not, the next scan finds it. */
  #unlink(entry: Entry): boolean {
    if (entry.readers === 0) this.#files.close(entry);
    this.#scrub?.letGo(entry);
    try {
      rmSync(this.#pathOf(entry), { recursive: true, force: true });
      return true;
    } catch {
      return false;
    }
  }
}

function describe({ digest, size, storedAt, usedMs, verifiedMs }: Entry): KeptBlob {
  const verifiedAt = verifiedMs === undefined ? undefined : new Date(verifiedMs);
  return { digest, size, storedAt, usedAt: new Date(usedMs), verifiedAt };
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
