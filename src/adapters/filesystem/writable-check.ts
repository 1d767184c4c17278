/** Checks for readiness that the directory is writable. It writes a block, because an empty file would not show a full disk. */
import { randomUUID } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { StoreFailedError } from '../../domain/errors.ts';
import type { Layout } from './layout.ts';
import type { Eviction } from './eviction.ts';

/** One block, the smallest unit of `Ledger`. */
const BLOCK = new Uint8Array(4096);

/**
 * A disk that takes longer for one block hangs: a snapshot has frozen it, or its network is down. Each call to it blocks a
 * thread in libuv's pool of four, so hits and metrics would wait, too. A probe waits 5 s.
 */
const HUNG_MS = 3000;

export class WritableCheck {
  readonly #layout: Layout;
  readonly #eviction: Eviction;
  readonly #hungMs: number;
  #answer: Promise<void> | undefined;
  #isHung = false;

  constructor(layout: Layout, eviction: Eviction, hungMs = HUNG_MS) {
    this.#layout = layout;
    this.#eviction = eviction;
    this.#hungMs = hungMs;
  }

  /** Whether the last check still waits for the disk. */
  get isHung(): boolean {
    return this.#isHung;
  }

  /** @throws StoreFailedError while the disk hangs */
  expectAnswer(): void {
    if (this.#isHung) throw hung();
  }

  /** Writes and syncs a block, once for all concurrent callers. Rejects with StoreFailedError, also if the disk hangs. */
  run(): Promise<void> {
    return (this.#answer ??= this.#ask());
  }

  #ask(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => {
      this.#isHung = true;
      reject(hung());
    }, this.#hungMs);
    this.#eviction
      .withRoom(BLOCK.byteLength, () => this.#write())
      .finally(() => {
        clearTimeout(timer);
        this.#isHung = false;
        this.#answer = undefined;
      })
      .then(() => {
        resolve(undefined);
      }, reject);
    return promise;
  }

  async #write(): Promise<void> {
    const path = `${this.#layout.cleanMarker}.${randomUUID()}`;
    await this.#layout.make();
    const handle = await open(path, 'wx', 0o600);
    try {
      await handle.writeFile(BLOCK);
      await handle.sync();
    } finally {
      await handle.close();
      await rm(path);
    }
  }
}

function hung(): StoreFailedError {
  return new StoreFailedError({ cause: new Error('disk of the cache does not answer') });
}
