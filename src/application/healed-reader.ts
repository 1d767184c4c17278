/** A reader that outlives the local disk: when reading fails there, the rest comes from the upstream. */
import { DigestMismatchError, StoreFailedError } from '../domain/errors.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';

export class HealedReader implements BlobReader {
  readonly size: number;
  readonly #reopen: () => Promise<BlobReader>;
  readonly #isProved: boolean;
  #blob: BlobReader;
  /** Behind the last byte that was shown. */
  #shown = 0;
  #healed = false;
  #closed = false;

  /** `isProved` when all of the blob was, before any of it was shown. */
  constructor(blob: BlobReader, reopen: () => Promise<BlobReader>, isProved: boolean) {
    this.size = blob.size;
    this.#blob = blob;
    this.#isProved = isProved;
    this.#reopen = reopen;
  }

  async read(offset: number): Promise<Uint8Array> {
    try {
      const bytes = await this.#blob.read(offset);
      this.#shown = offset + bytes.byteLength;
      return bytes;
    } catch (error) {
      if (!(error instanceof StoreFailedError) || this.#healed || this.#closed) throw error;
      await this.#heal(Math.min(offset, this.#shown));
      return this.#blob.read(offset);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#blob.close();
  }

  async #heal(length: number): Promise<void> {
    this.#healed = true;
    const broken = this.#blob;
    const fresh = await this.#reopen();
    try {
      await this.#expectSame(fresh, broken, length);
    } catch (error) {
      await fresh.close();
      throw error;
    }
    this.#blob = fresh;
    await (this.#closed ? fresh : broken).close();
  }

  /** What a client has seen of a fill that broke off was never proved: only with the very same bytes may its end follow. */
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

  /** Undefined when the disk does not give again what was proved when it was shown. */
  async #readAgain(shown: BlobReader, offset: number): Promise<Uint8Array | undefined> {
    try {
      return await shown.read(offset);
    } catch (error) {
      if (this.#isProved && error instanceof StoreFailedError) return undefined;
      throw error;
    }
  }
}
