/** A PackageStore in memory that passes the same contract as the one on disk, for tests of users of the port. */
import type {
  BlobInfo,
  BlobReader,
  PackageStore,
  Reservation,
  SoughtBlob,
  StoredBlob,
  StoreInspection,
  StoreUsage,
} from '../../src/domain/ports/package-store.ts';
import type { Descriptor, Digest } from '../../src/domain/descriptor.ts';
import { type NoRoom, StoreFullError } from '../../src/domain/errors.ts';
import { presentable, Verifier } from '../../src/domain/verifier.ts';

const MAX_READ_BYTES = 60_001;

export class MemoryPackageStore implements PackageStore, StoreInspection {
  readonly #maxBytes: number;
  readonly #kept = new Map<Digest, { bytes: Uint8Array; storedAt: Date; usedAt: Date }>();
  /** The sizes of the arriving blobs, and the number of bytes that have arrived. */
  #promised = 0;
  #arrived = 0;

  constructor(maxBytes = Infinity) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#arrived + this.#kept.values().reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
  }

  get usage(): StoreUsage {
    return {
      bytes: this.bytes,
      maxBytes: this.#maxBytes,
      limitBytes: this.#maxBytes,
      failures: {},
      entries: this.#kept.size,
      evicted: 0,
      damaged: 0,
      scrubbedBytes: 0,
    };
  }

  list(most: number): BlobInfo[] {
    const recent = [...this.#kept.keys()].reverse().slice(0, most);
    return recent.flatMap((digest) => this.info(digest) ?? []);
  }

  info(digest: Digest): BlobInfo | undefined {
    const blob = this.#kept.get(digest);
    if (blob === undefined) return undefined;
    const { bytes, storedAt, usedAt } = blob;
    return { digest, size: bytes.byteLength, storedAt, usedAt, verifiedAt: storedAt };
  }

  async refusal(size: number): Promise<NoRoom | undefined> {
    if (this.#promised + size <= this.#maxBytes) return undefined;
    return size > this.#maxBytes ? 'store-too-small' : 'store-full';
  }

  has(digest: Digest): boolean {
    return this.#kept.has(digest);
  }

  async open({ digest, size, isUse = true }: SoughtBlob): Promise<StoredBlob | undefined> {
    const blob = this.#kept.get(digest);
    if (blob === undefined || (size !== undefined && size !== blob.bytes.byteLength)) return undefined;
    if (isUse) {
      this.#kept.delete(digest);
      this.#kept.set(digest, blob);
      blob.usedAt = new Date();
    }
    const arrival = new Arrival(blob.bytes.byteLength);
    arrival.bytes.set(blob.bytes);
    arrival.prove();
    return { ...arrival.read(), storedAt: blob.storedAt };
  }

  async reserve(descriptor: Descriptor): Promise<Reservation> {
    const refusal = await this.refusal(descriptor.size);
    if (refusal !== undefined) throw new StoreFullError(refusal);
    this.#promised += descriptor.size;
    return {
      write: (chunks) => {
        const arrival = new Arrival(descriptor.size);
        const settled = this.#fill(descriptor, chunks, arrival);
        settled.catch(() => undefined);
        return { read: () => arrival.read(), settled };
      },
      abort: async () => {
        this.#promised -= descriptor.size;
      },
    };
  }

  async #fill(descriptor: Descriptor, chunks: AsyncIterable<Uint8Array>, arrival: Arrival): Promise<void> {
    const verifier = new Verifier(descriptor);
    let written = 0;
    try {
      for await (const chunk of chunks) {
        verifier.update(chunk);
        this.#evictFor(chunk.byteLength);
        arrival.bytes.set(chunk, written);
        written += chunk.byteLength;
        arrival.grow(presentable(written, descriptor.size));
      }
      verifier.verify();
      const now = new Date();
      this.#kept.set(descriptor.digest, { bytes: arrival.bytes, storedAt: now, usedAt: now });
      arrival.prove();
    } catch (error) {
      arrival.fail(error);
      throw error;
    } finally {
      this.#promised -= descriptor.size;
      this.#arrived -= written;
    }
  }

  #evictFor(bytes: number): void {
    this.#arrived += bytes;
    for (const digest of this.#kept.keys()) {
      if (this.bytes <= this.#maxBytes) break;
      this.#kept.delete(digest);
    }
  }
}

/** The store with some replaced methods, for faults of a test. */
export function storeWith(store: PackageStore, replaced: Partial<PackageStore>): PackageStore {
  return {
    info: (digest) => store.info(digest),
    refusal: (size) => store.refusal(size),
    open: (sought) => store.open(sought),
    reserve: (descriptor) => store.reserve(descriptor),
    ...replaced,
  };
}

/** Bytes that arrive, and the readers that wait for them. */
class Arrival {
  readonly bytes: Uint8Array;
  #readable = 0;
  #isProved = false;
  #failure: { error: unknown } | undefined;
  #growth: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  get size(): number {
    return this.bytes.byteLength;
  }

  grow(readable: number): void {
    this.#readable = readable;
    this.#wake();
  }

  prove(): void {
    this.#isProved = true;
    this.grow(this.size);
  }

  fail(error: unknown): void {
    this.#failure = { error };
    this.#wake();
  }

  read(): BlobReader {
    const reader = { closed: false, lent: new Uint8Array() };
    return {
      size: this.size,
      read: async (offset) => {
        reader.lent.fill(0xdd);
        while (offset >= this.#readable && !this.#isProved && !reader.closed) {
          if (this.#failure !== undefined) throw this.#failure.error;
          await this.#growth.promise;
        }
        if (reader.closed) throw new Error('reader is closed');
        // A short chunk of odd length that the next read invalidates, as the port allows.
        reader.lent = this.bytes.slice(offset, Math.min(offset + MAX_READ_BYTES, this.#readable));
        return reader.lent;
      },
      close: async () => {
        reader.closed = true;
        this.#wake();
      },
    };
  }

  #wake(): void {
    const { resolve } = this.#growth;
    this.#growth = Promise.withResolvers();
    resolve();
  }
}
