/** A reader that survives a failure of the local disk: it goes on from the upstream. */
import { DigestMismatchError, EvictedError, StoreFailedError } from '../domain/errors.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';

/** Opens the same blob elsewhere. `isEvicted`: the store works, and may still have it or has it again. */
type Reopen = (isEvicted: boolean) => Promise<BlobReader>;

export class FailoverReader implements BlobReader {
  readonly size: number;
  readonly #reopen: Reopen;
  readonly #isVerified: boolean;
  #blob: BlobReader;
  /** The end of the bytes that the client has. */
  #shown = 0;
  #hasFailedOver = false;
  /** Where this reader lost its blob last because it was slow. */
  #evictedAt = -1;
  #closed = false;

  /** `isVerified`: all of the blob was verified before any byte of it was read. */
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
        // As often as it happens: the client makes progress in between.
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

  /** Goes on elsewhere, if the first `length` bytes are the same there. */
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

  /** The bytes that a client has of a broken download were never verified: the rest may follow only the same bytes. */
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

  /** Undefined when the disk does not return verified bytes a second time. */
  async #readAgain(shown: BlobReader, offset: number): Promise<Uint8Array | undefined> {
    try {
      return await shown.read(offset);
    } catch (error) {
      if (this.#isVerified && error instanceof StoreFailedError) return undefined;
      throw error;
    }
  }
}
