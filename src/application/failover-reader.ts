/** A reader that continues from the upstream when the local disk fails. */
import { DigestMismatchError, EvictedError, StoreFailedError } from '../domain/errors.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';

/** Opens the same blob from another source. `isEvicted`: the store works, and may have the blob again. */
type Reopen = (isEvicted: boolean) => Promise<BlobReader>;

export class FailoverReader implements BlobReader {
  readonly size: number;
  readonly #reopen: Reopen;
  readonly #isVerified: boolean;
  #blob: BlobReader;
  /** The end of the bytes that the client has got. */
  #shown = 0;
  #hasFailedOver = false;
  /** The offset at which this reader last lost its blob because it was slow. */
  #evictedAt = -1;
  #closed = false;

  /** `isVerified`: the whole blob was verified before its first byte was read. */
  constructor(blob: BlobReader, reopen: Reopen, isVerified: boolean) {
    this.size = blob.size;
    this.#blob = blob;
    this.#isVerified = isVerified;
    this.#reopen = reopen;
  }

  async read(offset: number): Promise<Uint8Array> {
    try {
      const bytes = await this.#blob.read(offset);
      this.#shown = offset + bytes.byteLength;
      return bytes;
    } catch (error) {
      if (!(error instanceof StoreFailedError) || this.#closed) throw error;
      if (error instanceof EvictedError && offset > this.#evictedAt) {
        // Any number of times, because the client makes progress in between.
        this.#evictedAt = offset;
        await this.#failOver(0, true);
        return this.read(offset);
      }
      if (this.#hasFailedOver) throw error;
      this.#hasFailedOver = true;
      await this.#failOver(Math.min(offset, this.#shown), false);
      return this.#blob.read(offset);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#blob.close();
  }

  /** Continues from another source if its first `length` bytes are the same. */
  async #failOver(length: number, isEvicted: boolean): Promise<void> {
    const broken = this.#blob;
    const fresh = await this.#reopen(isEvicted);
    try {
      await this.#expectSame(fresh, broken, length);
    } catch (error) {
      await fresh.close();
      throw error;
    }
    this.#blob = fresh;
    await (this.#closed ? fresh : broken).close();
  }

  /** Checks the bytes that the client has got, which were not verified: the rest may only follow the same bytes. */
  async #expectSame(fresh: BlobReader, shown: BlobReader, length: number): Promise<void> {
    for (let at = 0; at < length;) {
      const [a, b] = [await fresh.read(at), await this.#readAgain(shown, at)];
      if (b === undefined) return;
      const some = Math.min(a.byteLength, b.byteLength, length - at);
      if (some === 0 || Buffer.compare(a.subarray(0, some), b.subarray(0, some)) !== 0) {
        throw new DigestMismatchError('the bytes that were shown', 'others');
      }
      at += some;
    }
  }

  /** Undefined if the disk does not return the verified bytes again. */
  async #readAgain(shown: BlobReader, offset: number): Promise<Uint8Array | undefined> {
    try {
      return await shown.read(offset);
    } catch (error) {
      if (this.#isVerified && error instanceof StoreFailedError) return undefined;
      throw error;
    }
  }
}
