/** Verifies cached blobs again, at a slow and constant pace: damage by the disk is found before a client reads it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DigestMismatchError, errnoOf } from '../../domain/errors.ts';
import { closeNow, openBlob, verifyFile } from '../blobs/blob-file.ts';
import type { Entry } from './ledger.ts';

interface ScrubberOptions {
  readonly bytesPerSecond: number;
  /** At the beginning of a pass. */
  readonly entries: () => readonly Entry[];
  readonly pathOf: (entry: Entry) => string;
  readonly onDamage: (entry: Entry) => void;
  /** Keeps the entry from being evicted until the function that it returns is called. */
  readonly hold: (entry: Entry) => () => void;
  /** Between two passes, in milliseconds. */
  readonly restMs?: number;
}

const REST_MS = 60_000;
/**
 * A smaller file, or the end of one, counts as so many: five calls that wait for a thread of libuv are its price, and by its
 * bytes alone hundreds of files of 1 KiB were opened in a second.
 */
const LEAST_BYTES = 64 * 1024;

export class Scrubber {
  readonly #options: ScrubberOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  /** The file that is open now. */
  #reading: { readonly entry: Entry; readonly fd: number } | undefined;
  #bytes = 0;

  constructor(options: ScrubberOptions) {
    this.#options = options;
  }

  /** Read since the start. */
  get bytes(): number {
    return this.#bytes;
  }

  start(): void {
    this.#running = this.#run().catch((error: unknown) => {
      if (!this.#stopping.signal.aborted) throw error;
    });
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { entries, restMs = REST_MS } = this.#options;
    for (;;) {
      // Nothing here counts as a use, so the order of eviction stays.
      for (const entry of entries()) if (entry.kept) await this.#check(entry);
      await this.#sleep(restMs);
    }
  }

  /** Closes the file of an entry that leaves, in the turn in which it leaves: with its descriptor the bytes leave the disk. */
  letGo(entry: Entry): void {
    if (this.#reading?.entry !== entry) return;
    const { fd } = this.#reading;
    this.#reading = undefined;
    closeNow(fd);
  }

  async #check(entry: Entry): Promise<void> {
    try {
      const fd = await this.#open(entry);
      try {
        if (!entry.kept) return;
        await verifyFile(fd, entry, (bytes) => this.#pause(entry, bytes));
        entry.verifiedMs = Date.now();
      } finally {
        this.letGo(entry);
      }
    } catch (error) {
      this.#stopping.signal.throwIfAborted();
      if (entry.kept && isDamage(error)) this.#options.onDamage(entry);
    }
  }

  /** A file that is evicted while it is being opened would keep its bytes on the disk until the next turn. */
  async #open(entry: Entry): Promise<number> {
    const letLeave = this.#options.hold(entry);
    try {
      const { fd } = await openBlob(this.#options.pathOf(entry));
      this.#reading = { entry, fd };
      return fd;
    } finally {
      letLeave();
    }
  }

  async #pause(entry: Entry, bytes: number): Promise<void> {
    // The bytes that were read last may be another file's.
    if (!entry.kept) throw new Error('entry has left');
    this.#bytes += bytes;
    await this.#sleep((Math.max(bytes, LEAST_BYTES) / this.#options.bytesPerSecond) * 1000);
  }

  #sleep(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.#stopping.signal, ref: false });
  }
}

/** Wrong bytes, no file, or a disk that cannot read it; not that there are too many open files. */
function isDamage(error: unknown): boolean {
  if (error instanceof DigestMismatchError) return true;
  return ['ENOENT', 'EIO', 'ELOOP', 'EFTYPE', 'ENXIO', 'EACCES'].some((known) => known === errnoOf(error));
}
