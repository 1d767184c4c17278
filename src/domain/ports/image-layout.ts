/** The port to storage that carries whole images to places without a registry. */
import type { Descriptor, Digest } from '../descriptor.ts';

/** Writes a blob into a layout, for one caller at a time; containerd's Writer. */
export interface BlobWriter {
  /** The number of bytes that are here, without a gap; the next `write` continues there. */
  readonly offset: number;
  /**
   * Must be iterated first, and to the end. Hashes the bytes that are here already, and yields `offset` after each piece.
   * `offset` becomes 0 if those bytes belong to another blob, and the size of the blob if nothing is missing. Rejects with
   * StoreFailedError, or with DigestMismatchError if the blob is here and the size in its descriptor is wrong.
   */
  resume(): AsyncIterable<number>;
  /** Rejects with StoreFailedError, or with DigestMismatchError if there are too many bytes; then the bytes are removed. */
  write(chunk: Uint8Array): Promise<void>;
  /**
   * Verifies the blob and gives it its name; then it survives a power loss. Rejects with StoreFailedError, or with
   * DigestMismatchError; then the bytes are removed, and the blob can be written again from its first byte.
   */
  commit(): Promise<void>;
  /** Must be called once. Bytes that are not committed stay for the next attempt. */
  close(): void;
}

/** Blobs, each stored under its digest, and an index that lists the images which are complete. */
export interface ImageLayout {
  /** Resolves with a verified manifest or index; undefined if it is not here. Rejects with StoreFailedError. */
  readManifest(digest: Digest): Promise<Uint8Array | undefined>;
  /** A file gets the name of a blob only after its verification. */
  writer(blob: Descriptor): BlobWriter;
  /** Adds an image to the index; all its blobs must be here. Rejects with StoreFailedError. */
  list(image: Descriptor): Promise<void>;
}
