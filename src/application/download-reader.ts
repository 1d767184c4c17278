/** One client's reader of a download: it reads what the store has, and where the store fails the rest of the same download. */
import { EvictedError, StoreFailedError } from '../domain/errors.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';
import type { Verifier } from '../domain/verifier.ts';

interface DownloadReaderOptions {
  readonly stored: BlobReader;
  /** Opens a reader of the rest of this download, which begins behind the bytes of `before`. */
  readonly openRest: (before: Verifier) => Promise<BlobReader>;
  /** Fulfils once the readers of a download that the store failed have been told of its rest, or there is none. */
  readonly failed: () => Promise<void>;
  readonly onClose: () => void;
}

export class DownloadReader implements BlobReader {
  readonly size: number;
  readonly #options: DownloadReaderOptions;
  #blob: BlobReader;
  #rest: Promise<BlobReader | undefined> | undefined;
  #restStart = 0;
  #isClosed = false;

  constructor(options: DownloadReaderOptions) {
    this.#options = options;
    this.#blob = options.stored;
    this.size = options.stored.size;
  }

  /**
   * Takes a place in the rest at once, while the client may still read what is in the store: the rest waits for it then.
   * Never rejects.
   */
  async continueIn(before: Verifier): Promise<void> {
    this.#restStart = before.bytes;
    this.#rest = this.#options.openRest(before).catch(() => undefined);
    await this.#rest;
  }

  async read(offset: number): Promise<Uint8Array> {
    try {
      return await this.#blob.read(offset);
    } catch (error) {
      if (!(error instanceof StoreFailedError) || error instanceof EvictedError) throw error;
      await this.#options.failed();
      const rest = await this.#rest;
      // The disk may fail this reader before the place where it failed the download.
      if (rest === undefined || offset < this.#restStart || this.#isClosed) throw error;
      this.#blob = rest;
      await this.#options.stored.close();
      return rest.read(offset);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#options.onClose();
    await (await this.#rest)?.close();
    if (this.#blob === this.#options.stored) await this.#blob.close();
  }
}
