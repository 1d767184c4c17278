/** Verifies cached blobs again at a low constant rate, so that damage by the disk is found before a client reads it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DigestMismatchError, errnoOf } from '../../domain/errors.ts';
import { closeNow, openBlob, verifyFile } from '../blobs/blob-file.ts';
import type { Entry } from './ledger.ts';

interface ScrubberOptions {
  readonly bytesPerSecond: number;
  /** Returns the entries at the beginning of a pass. */
  readonly entries: () => readonly Entry[];
  readonly pathOf: (entry: Entry) => string;
  readonly onDamage: (entry: Entry) => void;
  /** Prevents the eviction of the entry until the returned function is called. */
  readonly hold: (entry: Entry) => () => void;
  /** The pause between two passes, in milliseconds. */
  readonly restMs?: number;
}

const REST_MS = 60_000;
/**
 * A smaller file or piece counts as this many bytes, because it costs five calls that wait for a thread of libuv. Counted by
 * their bytes, hundreds of files of 1 KiB would be opened in a second.
 */
const LEAST_BYTES = 64 * 1024;

export class Scrubber {
  readonly #options: ScrubberOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  /** The open file. */
  #reading: { readonly entry: Entry; readonly fd: number } | undefined;
  #bytes = 0;

  constructor(options: ScrubberOptions) {
    this.#options = options;
  }

  /** The bytes that were read since the start. */
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
      // The scrub does not count as a use, so the order of eviction stays.
      for (const entry of entries()) if (entry.kept) await this.#check(entry);
      await this.#sleep(restMs);
    }
  }

  /** Closes the file of a removed entry in the same turn, because the disk frees its bytes only then. */
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

  /** Holds the entry while its file is opened: a file that is evicted meanwhile would keep its bytes on the disk. */
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
    // The descriptor may belong to another file now, so the last read may have its bytes.
    if (!entry.kept) throw new Error('entry has left');
    this.#bytes += bytes;
    await this.#sleep((Math.max(bytes, LEAST_BYTES) / this.#options.bytesPerSecond) * 1000);
  }

  #sleep(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.#stopping.signal, ref: false });
  }
}

/** True for wrong bytes, a missing file or a read error; false for too many open files. */
function isDamage(error: unknown): boolean {
  if (error instanceof DigestMismatchError) return true;
  return ['ENOENT', 'EIO', 'ELOOP', 'EFTYPE', 'ENXIO', 'EACCES'].some((known) => known === errnoOf(error));
}
