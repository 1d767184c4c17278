/** The port to local storage of blobs. */
import type { Descriptor, Digest } from '../descriptor.ts';
import type { NoRoom } from '../errors.ts';

/** The bytes of one blob, readable at any offset, while they may still be arriving. */
export interface BlobReader {
  /** Bytes of the whole blob. */
  readonly size: number;
  /**
   * The bytes from `offset` on, at least one: waits for them to arrive. Empty only at the end of the blob, and there
   * not before all of it is verified. Not the reader's own and valid until its next read or close, so one read at a time.
   * Rejects with the error that ended the blob's arrival.
   */
  read(offset: number): Promise<Uint8Array>;
  /** Must be called once; reads afterwards reject. */
  close(): Promise<void>;
}

/** A cached blob, whole and verified. */
export interface StoredBlob extends BlobReader {
  readonly storedAt: Date;
}

/** A blob on its way in. */
export interface IncomingBlob {
  /**
   * A reader that follows the arrival. Only to be asked for up to the turn in which `settled` does. Of a blob that the store
   * failed to take in it reads what was stored before the chunk that failed, but for the last 64 KiB of the blob.
   */
  read(): BlobReader;
  /** Fulfils when the blob is cached, rejects when nothing of it is. Never an unhandled rejection. */
  readonly settled: Promise<void>;
}

/** A blob that is looked for: a descriptor, or the digest alone where its size is not known. */
export interface SoughtBlob {
  readonly digest: Digest;
  readonly size?: number;
  /** False for a look that changes nothing about when the blob leaves. */
  readonly isUse?: boolean;
}

/** Facts about a cached blob. */
export interface BlobInfo {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly storedAt: Date;
  readonly usedAt: Date;
  /** When its bytes were last verified; undefined when not since an unclean stop: they are before the first use. */
  readonly verifiedAt: Date | undefined;
}

/** Room for one blob of which no byte is here yet. It ends by one call of `write` or `abort`. */
export interface Reservation {
  /**
   * Takes the blob in, at the pace of `chunks`, each of them valid until the next; it is cached only when size and digest are
   * verified, and its last 64 KiB are not readable before. Other blobs leave only as bytes arrive, and only for as many.
   */
  write(chunks: AsyncIterable<Uint8Array>): IncomingBlob;
  /** Gives the room back. Never rejects. */
  abort(): Promise<void>;
}

/** Blobs on local storage, each under the digest of its own bytes, bounded in bytes; the least recently used leave first. */
export interface PackageStore {
  /**
   * An open blob, counted as a use unless the question says otherwise; undefined when it is not here whole, or has another
   * size than the one looked for: a manifest that names a wrong size must fail as it does for a blob that is not cached.
   * Rejects with StoreFailedError.
   */
  open(blob: SoughtBlob): Promise<StoredBlob | undefined>;
  /** Undefined when the blob is not here whole. Counts as no use, and reads nothing. */
  info(digest: Digest): BlobInfo | undefined;
  /**
   * Why `reserve` would refuse a blob of `size` bytes now, by the rule of `reserve`; undefined when it would not. Takes no
   * room; no blob leaves.
   */
  refusal(size: number): Promise<NoRoom | 'store-failed' | undefined>;
  /**
   * Promises room for a blob, for which no other blob leaves yet. Rejects with StoreFullError or StoreFailedError when there
   * can be none: the caller opens no upstream for the store then.
   */
  reserve(descriptor: Descriptor): Promise<Reservation>;
}

/** Why a blob could not be stored: codes of the file system, no free inode, or room that readers hold on to. */
export const STORE_FAILURES = ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EMFILE', 'inodes', 'pinned', 'other'] as const;
export type StoreFailure = (typeof STORE_FAILURES)[number];

/** The usage of the store, for metrics and the status page. */
export interface StoreUsage {
  /** Allocated on the volume, and taken by the blocks that are being written. */
  readonly bytes: number;
  /** 0 when nothing can be kept. */
  readonly maxBytes: number;
  /** As much of `maxBytes` as the volume has room for. */
  readonly limitBytes: number;
  /** Since the start: blobs that could not be stored; none for a reason that is absent. */
  readonly failures: Readonly<Partial<Record<StoreFailure, number>>>;
  readonly entries: number;
  /** Since the start: removed to make room. */
  readonly evicted: number;
  /** Since the start: found missing, unreadable or with wrong bytes. */
  readonly damaged: number;
  /** Since the start: read again by the scrub. */
  readonly scrubbedBytes: number;
}

/** None of it counts as a use. */
export interface StoreInspection {
  readonly usage: StoreUsage;
  /** The most recently used first, at most this many: a person does not read a hundred thousand. */
  list(most: number): BlobInfo[];
}
