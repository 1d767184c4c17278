/** The port to local storage of blobs. */
import type { Descriptor, Digest } from '../descriptor.ts';
import type { NoRoom } from '../errors.ts';

/** Reads one blob at any offset, also while its bytes still arrive. */
export interface BlobReader {
  /** The size of the whole blob in bytes. */
  readonly size: number;
  /**
   * Waits for the bytes at `offset`, and resolves with at least one. The result is empty only at the end of the blob, after
   * its verification. The bytes belong to the blob and are valid until the next read or close, so only one read may run at a
   * time. Rejects with the error that ended the arrival of the blob.
   */
  read(offset: number): Promise<Uint8Array>;
  /** Must be called once; later reads reject. */
  close(): Promise<void>;
}

/** A complete and verified blob of the cache. */
export interface StoredBlob extends BlobReader {
  readonly storedAt: Date;
}

/** A blob that is being written into the store. */
export interface IncomingBlob {
  /**
   * Opens a reader that follows the arrival. It can be called up to the turn in which `settled` settles. If the store
   * failed, it reads the bytes before the failed chunk, except the last 64 KiB of the blob.
   */
  read(): BlobReader;
  /** Resolves when the blob is cached, rejects when none of it is. Its rejection is never an unhandled one. */
  readonly settled: Promise<void>;
}

/** A blob to look for: a descriptor, or the digest alone if the size is not known. */
export interface SoughtBlob {
  readonly digest: Digest;
  readonly size?: number;
  /** False for a look-up that does not change the order of eviction. */
  readonly isUse?: boolean;
}

/** Facts about a cached blob. */
export interface BlobInfo {
  readonly digest: Digest;
  /** The size in bytes. */
  readonly size: number;
  readonly storedAt: Date;
  readonly usedAt: Date;
  /**
   * The time of the last verification; undefined if there was none since an unclean stop. Such bytes are verified before the
   * first use.
   */
  readonly verifiedAt: Date | undefined;
}

/** Room for one blob, before its first byte. One call of `write` or `abort` ends it. */
export interface Reservation {
  /**
   * Writes the blob at the pace of `chunks`; each chunk is valid until the next one. The blob is cached only after its size
   * and digest are verified; before that its last 64 KiB are not readable. Other blobs are evicted only for bytes that have
   * arrived.
   */
  write(chunks: AsyncIterable<Uint8Array>): IncomingBlob;
  /** Releases the room. Never rejects. */
  abort(): Promise<void>;
}

/**
 * Blobs on local storage, each stored under its digest, with a limit in bytes; the least recently used ones are evicted
 * first.
 */
export interface PackageStore {
  /**
   * Opens a blob, and counts a use unless `isUse` is false. Resolves with undefined if the blob is not complete, or if its
   * size differs from the wanted one: a manifest with a wrong size must fail as it does for a blob that is not cached.
   * Rejects with StoreFailedError.
   */
  open(blob: SoughtBlob): Promise<StoredBlob | undefined>;
  /** Returns undefined if the blob is not complete. Counts no use, and reads no bytes. */
  info(digest: Digest): BlobInfo | undefined;
  /**
   * Resolves with the reason why `reserve` would refuse a blob of `size` bytes now; undefined if it would not. Reserves no
   * room and evicts no blob.
   */
  refusal(size: number): Promise<NoRoom | 'store-failed' | undefined>;
  /**
   * Reserves room for a blob without evicting other blobs yet. Rejects with StoreFullError or StoreFailedError if there is
   * no room; then the caller opens no upstream for the store.
   */
  reserve(descriptor: Descriptor): Promise<Reservation>;
}

/** Why a blob could not be stored: codes of the file system, no free inode, or entries that readers hold open. */
export const STORE_FAILURES = ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EMFILE', 'inodes', 'pinned', 'other'] as const;
export type StoreFailure = (typeof STORE_FAILURES)[number];

/** The usage of the store, for metrics and the status page. */
export interface StoreUsage {
  /** Allocated on the volume, including the blocks that are being written. */
  readonly bytes: number;
  /** 0 if the store keeps nothing. */
  readonly maxBytes: number;
  /** The part of `maxBytes` for which the volume has room. */
  readonly limitBytes: number;
  /** The number of blobs since the start that could not be stored, for each reason that occurred. */
  readonly failures: Readonly<Partial<Record<StoreFailure, number>>>;
  readonly entries: number;
  /** The number of blobs since the start that were removed to make room. */
  readonly evicted: number;
  /** The number of blobs since the start that were missing, unreadable or wrong. */
  readonly damaged: number;
  /** The number of bytes since the start that the scrubber has read again. */
  readonly scrubbedBytes: number;
}

/** Reads the state of the store; no call counts as a use. */
export interface StoreInspection {
  readonly usage: StoreUsage;
  /** Returns at most `most` blobs, the most recently used first, because a page shows no hundred thousand. */
  list(most: number): BlobInfo[];
}
