/** Copies blobs that the cache has taken in into a bucket, behind the clients: one at a time, and only while there is room to wait. */
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import { isOneOf } from '../../domain/errors.ts';
import type { BlobReader, PackageStore } from '../../domain/ports/package-store.ts';
import type { S3Bucket } from './s3-bucket.ts';

const MAX_QUEUED = 64;
/** Of digests: a few hundred KB, and more than the packages of a release. */
const MAX_REMEMBERED = 4096;
/** A bucket that takes less than this in a second holds the queue up. */
const MIN_BYTES_PER_SECOND = 64 * 1024;
const BASE_MS = 60_000;

/** `there`: written before, by another replica or cluster. `dropped`: for want of room in the queue, or at the end. */
export const WRITE_RESULTS = ['written', 'there', 'failed', 'dropped'] as const;
export type WriteResult = (typeof WRITE_RESULTS)[number];

export interface WriteEvent {
  readonly blob: Pick<Descriptor, 'digest' | 'size'>;
  readonly result: WriteResult;
  /** Of a write that failed. */
  readonly error?: unknown;
}

/** The part of a store's event that says that a blob is cached, or why it is not. */
type ArrivalEvent = { readonly blob: Descriptor } & (
  { readonly kind: 'begun' } | { readonly kind: 'ended'; readonly error: unknown }
);

interface WriteBehindOptions {
  readonly bucket: Pick<S3Bucket, 'stateOf' | 'put'>;
  readonly store: Pick<PackageStore, 'open'>;
  readonly onWrite: (event: WriteEvent) => void;
  /** Hears of a digest whose wrong object is replaced. */
  readonly onHealed: (digest: Digest) => void;
}

export class WriteBehind {
  readonly #options: WriteBehindOptions;
  readonly #stopping = new AbortController();
  readonly #queue = new Map<Digest, Descriptor>();
  /** Seen in the bucket, right as far as can be seen from outside. */
  readonly #found = new Set<Digest>();
  /** Objects with other bytes are replaced, whatever the server says of them. */
  readonly #distrusted = new Set<Digest>();
  #working: Promise<void> | undefined;

  constructor(options: WriteBehindOptions) {
    this.#options = options;
  }

  /** How many blobs wait or are being written. */
  get queued(): number {
    return this.#queue.size;
  }

  readonly observeArrival = (event: ArrivalEvent): void => {
    if (event.kind === 'ended' && event.error === undefined) this.#enqueue(event.blob);
  };

  /** The bucket gave other bytes for this digest. */
  readonly distrust = (digest: Digest): void => {
    remember(this.#distrusted, digest);
  };

  /** Whether the bucket has an object of that digest, which then needs no copy. */
  readonly observeObject = (digest: Digest, isThere: boolean): void => {
    if (isThere) remember(this.#found, digest);
    else this.#found.delete(digest);
  };

  /** Gives up the write that runs and all that wait. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#working;
  }

  #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  #enqueue(blob: Descriptor): void {
    const { digest } = blob;
    const isThere = this.#found.has(digest) && !this.#distrusted.has(digest);
    if (isThere || this.#queue.has(digest)) return;
    if (this.#queue.size >= MAX_QUEUED || this.#isStopping()) {
      this.#options.onWrite({ blob, result: 'dropped' });
      return;
    }
    this.#queue.set(digest, blob);
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  async #work(): Promise<void> {
    for (;;) {
      const [blob] = this.#queue.values();
      if (blob === undefined) return;
      const event = await this.#write(blob);
      this.#queue.delete(blob.digest);
      this.#options.onWrite(event);
    }
  }

  async #write(blob: Descriptor): Promise<WriteEvent> {
    if (this.#isStopping()) return { blob, result: 'dropped' };
    const { digest, size } = blob;
    const patienceMs = BASE_MS + Math.ceil((size / MIN_BYTES_PER_SECOND) * 1000);
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(patienceMs)]);
    try {
      const isDistrusted = this.#distrusted.has(digest);
      if (!isDistrusted && (await this.#options.bucket.stateOf(digest, size, signal)) === 'there') {
        remember(this.#found, digest);
        return { blob, result: 'there' };
      }
      if (!(await this.#put(blob, signal))) return { blob, result: 'dropped' };
      remember(this.#found, digest);
      this.#distrusted.delete(digest);
      this.#options.onHealed(digest);
      return { blob, result: 'written' };
    } catch (error) {
      return this.#isStopping() ? { blob, result: 'dropped' } : { blob, result: 'failed', error };
    }
  }

  /** False when the blob has left the cache meanwhile. */
  async #put({ digest, size }: Descriptor, signal: AbortSignal): Promise<boolean> {
    const { bucket, store } = this.#options;
    const stored = await store.open({ digest, size, isUse: false }).catch((error: unknown) => {
      if (isOneOf(error, 'STORE_FAILED')) return undefined;
      throw error;
    });
    if (stored === undefined) return false;
    try {
      await bucket.put(digest, { size, open: () => bytesOf(stored) }, signal);
      return true;
    } finally {
      await stored.close();
    }
  }
}

async function* bytesOf(blob: BlobReader): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < blob.size;) {
    const chunk = await blob.read(at);
    at += chunk.byteLength;
    yield chunk;
  }
}

/** The oldest leaves. */
function remember(digests: Set<Digest>, digest: Digest): void {
  const [oldest] = digests;
  if (oldest !== undefined && digests.size >= MAX_REMEMBERED) digests.delete(oldest);
  digests.add(digest);
}
