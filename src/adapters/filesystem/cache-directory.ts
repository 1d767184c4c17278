/** The directory of the cache while the service runs: locked, loaded at the start and closed at the end. */
import { type HeldDirectory, holdDirectory } from '../blobs/directory-lock.ts';
import type { FilesystemPackageStore } from './filesystem-package-store.ts';
import { Layout } from './layout.ts';

/** Two processes on one directory would each count their own bytes and evict what the other has just cached. */
export class CacheDirectory {
  readonly #store: FilesystemPackageStore;
  readonly #directory: string;
  #held: HeldDirectory | undefined;

  constructor(store: FilesystemPackageStore, directory: string) {
    this.#store = store;
    this.#directory = directory;
  }

  /** Rejects if another process holds the directory, or with the error of the file system. */
  async start(): Promise<void> {
    const layout = new Layout(this.#directory);
    await layout.prepare();
    this.#held = await holdDirectory(
      layout.root,
      `${this.#directory} is in use by another process: a service, or prefetch without --url`,
    );
    await this.#store.load();
  }

  async stop(): Promise<void> {
    // Without the lock, the directory and its clean marker belong to the other process.
    if (this.#held === undefined) return;
    await this.#store.close();
    this.#held.release();
  }

  notReady(): Promise<string | undefined> {
    return this.#store.checkWritable().then(
      () => undefined,
      () => 'the cache directory cannot be written',
    );
  }
}
