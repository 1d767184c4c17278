/** A reader that outlives the local disk: when reading fails there, the rest comes from the upstream. */
import { DigestMismatchError, StoreFailedError } from '../domain/errors.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';

const COMPARED_AT_ONCE = 256 * 1024;

export class HealedReader implements BlobReader {
  readonly size: number;
  readonly #reopen: () => Promise<BlobReader>;
  #blob: BlobReader;
  #healed = false;
  #closed = false;

  constructor(blob: BlobReader, reopen: () => Promise<BlobReader>) {
    this.size = blob.size;
    this.#blob = blob;
    this.#reopen = reopen;
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    try {
      return await this.#blob.read(into, offset);
    } catch (error) {
      if (!(error instanceof StoreFailedError) || this.#healed || this.#closed) throw error;
      await this.#heal(offset);
      return this.#blob.read(into, offset);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#blob.close();
  }

  async #heal(offset: number): Promise<void> {
    this.#healed = true;
    const broken = this.#blob;
    const fresh = await this.#reopen();
    try {
      await expectSame(fresh, broken, offset);
    } catch (error) {
      await fresh.close();
      throw error;
    }
    this.#blob = fresh;
    await (this.#closed ? fresh : broken).close();
  }
}

/** What a client has seen of a fill that broke off was never proved: only with the very same bytes may its end follow. */
async function expectSame(fresh: BlobReader, shown: BlobReader, length: number): Promise<void> {
  const [a, b] = [Buffer.alloc(COMPARED_AT_ONCE), Buffer.alloc(COMPARED_AT_ONCE)];
  for (let at = 0; at < length;) {
    const some = await fresh.read(a.subarray(0, Math.min(a.byteLength, length - at)), at);
    let compared = 0;
    while (compared < some) compared += await shown.read(b.subarray(compared, some), at + compared);
    if (some === 0 || !a.subarray(0, some).equals(b.subarray(0, some))) {
      throw new DigestMismatchError('the bytes that were shown', 'others');
    }
    at += some;
  }
}
