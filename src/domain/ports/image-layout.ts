/** The port to a place that carries whole images to where no registry is. */
import type { Descriptor, Digest } from '../descriptor.ts';

/** A blob on its way into a layout, for one caller at a time; containerd's Writer. */
export interface BlobWriter {
  /** How many bytes of the blob are here, from the first on: where the next `write` goes on. */
  readonly offset: number;
  /**
   * To be iterated first, and to the end: hashes what lies here already, and yields `offset` after each piece. It is 0 when
   * those bytes are another blob's and the size of the blob when nothing is missing. Rejects with StoreFailedError, or with
   * DigestMismatchError when the blob is here and its descriptor wrong about its size.
   */
  resume(): AsyncIterable<number>;
  /** Rejects with StoreFailedError, or with DigestMismatchError when there are too many bytes; nothing is here then. */
  write(chunk: Uint8Array): Promise<void>;
  /**
   * Verifies the blob, which has its name and outlives a power loss then. Rejects with StoreFailedError, or with
   * DigestMismatchError; nothing is here then, and it can be written again from its first byte.
   */
  commit(): Promise<void>;
  /** Must be called once. Bytes that are not committed stay for the next try. */
  close(): void;
}

/** Blobs, each under the digest of its own bytes, and an index that names the images which are here whole. */
export interface ImageLayout {
  /** A manifest or an index that lies here, verified; undefined when there is none. Rejects with StoreFailedError. */
  readManifest(digest: Digest): Promise<Uint8Array | undefined>;
  /** No unverified file ever has the name of a blob. */
  writer(blob: Descriptor): BlobWriter;
  /** Names an image all of whose blobs are here. Rejects with StoreFailedError. */
  list(image: Descriptor): Promise<void>;
}
