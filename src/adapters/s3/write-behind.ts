/** Copies cached blobs into a bucket in the background, one at a time; without a cache it only replaces wrong objects. */
import type { Descriptor, Digest } from '../../domain/descriptor.ts';
import { isOneOf } from '../../domain/errors.ts';
import { MAX_MANIFEST_BYTES } from '../../domain/manifest.ts';
import type { BlobReader, PackageStore } from '../../domain/ports/package-store.ts';
import { Verifier } from '../../domain/verifier.ts';
import type { Upload } from '../registry/transport/http-message.ts';
import type { S3Bucket } from './s3-bucket.ts';

const MAX_QUEUED = 64;
/** A few hundred KB of digests, more than the packages of a release. */
const MAX_REMEMBERED = 4096;
/** A bucket that accepts fewer bytes per second delays the queue too much, so the write ends. */
const MIN_BYTES_PER_SECOND = 64 * 1024;
const BASE_MS = 60_000;

export interface WriteEvent {
  /** Content that has not been fetched has no known size. */
  readonly blob: Pick<Descriptor, 'digest'> & { readonly size: number | undefined };
  /** `there`: another replica or cluster has written it. `dropped`: the queue was full, or the service stops. */
  readonly result: 'written' | 'there' | 'failed' | 'dropped';
  /** The error of a failed write. */
  readonly error?: unknown;
}

/** The events of a store that report that a blob is cached, or why it is not. */
type ArrivalEvent = { readonly blob: Descriptor } & (
  { readonly kind: 'begun' } | { readonly kind: 'ended'; readonly error: unknown }
);

/** Unverified content from another place. */
interface Repair {
  /** Undefined for a manifest. */
  readonly size: number | undefined;
  fetch(signal: AbortSignal): Promise<Upload>;
}

interface Queued {
  readonly blob: WriteEvent['blob'];
  /** The source of the bytes; without it they come from the cache. */
  readonly repair?: Repair;
}

interface WriteBehindOptions {
  readonly bucket: Pick<S3Bucket, 'stateOf' | 'put'>;
  /** Undefined without a cache. */
  readonly store: Pick<PackageStore, 'open'> | undefined;
  readonly onWrite: (event: WriteEvent) => void;
  /** Called with a digest whose wrong object was replaced. */
  readonly onHealed: (digest: Digest) => void;
}

export class WriteBehind {
  readonly #options: WriteBehindOptions;
  readonly #stopping = new AbortController();
  readonly #queue = new Map<Digest, Queued>();
  /** Digests whose object exists and is right, as far as the server's answers tell. */
  readonly #found = new Set<Digest>();
  /** Digests of objects with wrong bytes, which are replaced independently of the server's answers. */
  readonly #distrusted = new Set<Digest>();
  #working: Promise<void> | undefined;

  constructor(options: WriteBehindOptions) {
    this.#options = options;
  }

  /** The number of blobs that wait or are being written. */
  get queued(): number {
    return this.#queue.size;
  }

  readonly observeArrival = (event: ArrivalEvent): void => {
    if (event.kind === 'ended' && event.error === undefined) this.#enqueue({ blob: event.blob });
  };

  /** Records wrong bytes of the bucket for this digest; the next arrival in the cache, or `repair`, replaces them. */
  readonly distrust = (digest: Digest, repair: Repair): void => {
    remember(this.#distrusted, digest);
    if (this.#options.store === undefined) this.#enqueue({ blob: { digest, size: repair.size }, repair });
  };

  /** Records whether the bucket has an object of this digest, which then needs no copy. */
  readonly observeObject = (digest: Digest, isThere: boolean): void => {
    if (isThere) remember(this.#found, digest);
    else this.#found.delete(digest);
  };

  /** Ends the running write and drops the waiting ones. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#working;
  }

  #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  #enqueue(queued: Queued): void {
    const { blob } = queued;
    const { digest } = blob;
    const isThere = this.#found.has(digest) && !this.#distrusted.has(digest);
    if (isThere || this.#queue.has(digest)) return;
    if (this.#queue.size >= MAX_QUEUED || this.#isStopping()) {
      this.#options.onWrite({ blob, result: 'dropped' });
      return;
    }
    this.#queue.set(digest, queued);
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  async #work(): Promise<void> {
    for (;;) {
      const [queued] = this.#queue.values();
      if (queued === undefined) return;
      const event = await this.#write(queued);
      this.#queue.delete(queued.blob.digest);
      this.#options.onWrite(event);
    }
  }

  async #write({ blob, repair }: Queued): Promise<WriteEvent> {
    if (this.#isStopping()) return { blob, result: 'dropped' };
    const { digest, size = MAX_MANIFEST_BYTES } = blob;
    const patienceMs = BASE_MS + Math.ceil((size / MIN_BYTES_PER_SECOND) * 1000);
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(patienceMs)]);
    try {
      const isDistrusted = this.#distrusted.has(digest);
      if (!isDistrusted && (await this.#options.bucket.stateOf(digest, size, signal)) === 'there') {
        remember(this.#found, digest);
        return { blob, result: 'there' };
      }
      if (repair !== undefined) await this.#replace(digest, repair, signal);
      else if (!(await this.#copy({ digest, size }, signal))) return { blob, result: 'dropped' };
      remember(this.#found, digest);
      this.#distrusted.delete(digest);
      this.#options.onHealed(digest);
      return { blob, result: 'written' };
    } catch (error) {
      return this.#isStopping() ? { blob, result: 'dropped' } : { blob, result: 'failed', error };
    }
  }

  /** Resolves with false if the blob was evicted from the cache meanwhile. */
  async #copy({ digest, size }: Pick<Descriptor, 'digest' | 'size'>, signal: AbortSignal): Promise<boolean> {
    const { bucket, store } = this.#options;
    const stored = await store?.open({ digest, size, isUse: false }).catch((error: unknown) => {
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

  async #replace(digest: Digest, repair: Repair, signal: AbortSignal): Promise<void> {
    const { size, open } = await repair.fetch(signal);
    await this.#options.bucket.put(digest, { size, open: () => verified({ digest, size }, open()) }, signal);
  }
}

/** Throws before the last chunk if the bytes are wrong, so that they never become an object. */
async function* verified(
  blob: Pick<Descriptor, 'digest' | 'size'>,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const verifier = new Verifier(blob);
  let withheld: Uint8Array | undefined;
  for await (const chunk of chunks) {
    verifier.update(chunk);
    if (withheld !== undefined) yield withheld;
    withheld = new Uint8Array(chunk);
  }
  verifier.verify();
  if (withheld !== undefined) yield withheld;
}

async function* bytesOf(blob: BlobReader): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < blob.size;) {
    const chunk = await blob.read(at);
    at += chunk.byteLength;
    yield chunk;
  }
}

/** Adds a digest; in a full set it replaces the oldest one. */
function remember(digests: Set<Digest>, digest: Digest): void {
  const [oldest] = digests;
  if (oldest !== undefined && digests.size >= MAX_REMEMBERED) digests.delete(oldest);
  digests.add(digest);
}
