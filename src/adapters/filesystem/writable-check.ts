/** Whether the directory takes a file, for readiness: an empty file needs no block, and a full disk would go unnoticed. */
import { randomUUID } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import type { Layout } from './layout.ts';
import { type Relief, withRoom } from './with-room.ts';

/** One block, which is also what `Ledger` counts at least. */
const BLOCK = new Uint8Array(4096);

export class WritableCheck {
  readonly #layout: Layout;
  readonly #relief: Relief;
  #running: Promise<void> | undefined;

  constructor(layout: Layout, relief: Relief) {
    this.#layout = layout;
    this.#relief = relief;
  }

  /** Writes and syncs a block, once for all callers meanwhile. @throws StoreFailedError */
  run(): Promise<void> {
    this.#running ??= withRoom(this.#relief, BLOCK.byteLength, () => this.#write()).finally(
      () => (this.#running = undefined),
    );
    return this.#running;
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
