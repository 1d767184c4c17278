/** Reads kept blobs again, slowly and for ever: what the disk has changed is found before a client is given it. */
import { open, read } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { DigestMismatchError } from '../../domain/errors.ts';
import { Verifier } from '../../domain/verifier.ts';
import { closeNow } from './block-file.ts';
import { READ_FLAGS } from './layout.ts';
import type { Entry } from './ledger.ts';

/** Descriptors as numbers, which can be closed in the very turn in which their file is removed. */
const openFile = promisify(open);
const readFile = promisify(read);

export interface ScrubOptions {
  readonly bytesPerSecond: number;
  /** At the beginning of a pass. */
  readonly entries: () => readonly Entry[];
  readonly pathOf: (entry: Entry) => string;
  readonly onDamage: (entry: Entry) => void;
  /** Between two passes, in milliseconds. */
  readonly restMs?: number;
}

const READ_AT_ONCE = 256 * 1024;
const REST_MS = 60_000;

export class Scrub {
  readonly #options: ScrubOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  /** The file that is open now. */
  #reading: { readonly entry: Entry; readonly fd: number } | undefined;
  #bytes = 0;

  constructor(options: ScrubOptions) {
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
    const buffer = new Uint8Array(READ_AT_ONCE);
    for (;;) {
      // Another one's order is not disturbed: nothing here counts as a use.
      for (const entry of entries()) if (entry.kept) await this.#check(entry, buffer);
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

  async #check(entry: Entry, buffer: Uint8Array): Promise<void> {
    const { pathOf, onDamage } = this.#options;
    try {
      const fd = await openFile(pathOf(entry), READ_FLAGS);
      this.#reading = { entry, fd };
      try {
        if (entry.kept && (await this.#prove(fd, entry, buffer))) entry.verifiedMs = Date.now();
      } finally {
        this.letGo(entry);
      }
    } catch (error) {
      this.#stopping.signal.throwIfAborted();
      if (entry.kept && isDamage(error)) onDamage(entry);
    }
  }

  /** False when the entry left meanwhile: then what was read last may be another file's. */
  async #prove(fd: number, entry: Entry, buffer: Uint8Array): Promise<boolean> {
    const verifier = new Verifier(entry);
    for (let offset = 0; ;) {
      const { bytesRead } = await readFile(fd, buffer, 0, buffer.byteLength, offset);
      if (!entry.kept) return false;
      if (bytesRead === 0) break;
      verifier.update(buffer.subarray(0, bytesRead));
      offset += bytesRead;
      this.#bytes += bytesRead;
      await this.#sleep((bytesRead / this.#options.bytesPerSecond) * 1000);
    }
    verifier.verify();
    return true;
  }

  #sleep(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.#stopping.signal, ref: false });
  }
}

/** Wrong bytes, no file, or a disk that cannot read it; not that there are too many open files. */
function isDamage(error: unknown): boolean {
  if (error instanceof DigestMismatchError) return true;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return ['ENOENT', 'EIO', 'ELOOP', 'EISDIR', 'ENXIO', 'EACCES'].some((known) => known === code);
}
