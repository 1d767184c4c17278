/** The port to a place that carries whole images to where no registry is. */
import type { Descriptor } from '../descriptor.ts';
import type { Digest } from '../digest.ts';

/** Opens a blob's bytes from `offset` on, each chunk valid until the next. */
export type FetchFrom = (offset: number) => Promise<AsyncIterable<Uint8Array>>;

/** Blobs, each under the digest of its own bytes, and an index that names the images which are here whole. */
export interface ImageLayout {
  /** A manifest or an index that lies here, proved; undefined when there is none. Rejects with StoreFailedError. */
  readManifest(digest: Digest): Promise<Uint8Array | undefined>;
  /**
   * Brings a blob here, and verifies it; for one caller at a time. A blob that lies here already is verified instead of
   * fetched, and fetched if it is something else; the bytes of an earlier try are not fetched again. `onBytes` hears how
   * many bytes of it are here, a number that falls when they were the wrong ones. Rejects with DigestMismatchError,
   * StoreFailedError, the reason of `signal`, or the error of `fetch` and its bytes; no unverified file has the blob's name
   * then.
   */
  keep(blob: Descriptor, fetch: FetchFrom, onBytes: (here: number) => void, signal: AbortSignal): Promise<void>;
  /** Names an image all of whose blobs are here. Rejects with StoreFailedError. */
  list(image: Descriptor): Promise<void>;
}
