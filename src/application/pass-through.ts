/** A blob straight from its upstream to one client, proved on the way, for when it cannot be kept. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';
import { Proof } from '../domain/proof.ts';

/** Reads forward only: an offset before that of an earlier read rejects. */
export class PassThrough implements BlobReader {
  readonly size: number;
  readonly #proof: Proof;
  readonly #chunks: AsyncIterator<Uint8Array>;
  /** Received and perhaps still to be read; the first byte of the first one is at `#start`. */
  readonly #held: Uint8Array[] = [];
  #start = 0;
  #proved = false;

  readonly #abandon: () => void;

  /** `abandon` tells the source at once that nobody reads on, also when it is being waited for. */
  constructor(blob: Descriptor, chunks: AsyncIterable<Uint8Array>, abandon: () => void) {
    this.size = blob.size;
    this.#proof = new Proof(blob);
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#abandon = abandon;
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    if (offset >= this.size) return 0;
    if (offset < this.#start) throw new Error('what has passed through cannot be read again');
    while (offset >= this.#presentable) {
      await this.#receive();
      this.#dropBefore(Math.min(offset, this.#presentable));
    }
    this.#dropBefore(offset);
    return this.#copy(into, Math.min(into.byteLength, this.#presentable - offset));
  }

  async close(): Promise<void> {
    this.#abandon();
    await this.#chunks.return?.();
  }

  get #presentable(): number {
    return this.#proved ? this.size : this.#proof.presentable;
  }

  async #receive(): Promise<void> {
    const next = await this.#chunks.next();
    if (next.done === true) {
      this.#proof.conclude();
      this.#proved = true;
    } else {
      this.#proof.update(next.value);
      // Ours to keep: the source uses its buffer again.
      this.#held.push(new Uint8Array(next.value));
    }
  }

  #dropBefore(offset: number): void {
    for (let first = this.#held[0]; first !== undefined; first = this.#held[0]) {
      const excess = offset - this.#start;
      if (excess < first.byteLength) {
        if (excess > 0) {
          this.#held[0] = first.subarray(excess);
          this.#start = offset;
        }
        return;
      }
      this.#held.shift();
      this.#start += first.byteLength;
    }
  }

  /** `length` bytes from the first held one on. */
  #copy(into: Uint8Array, length: number): number {
    let copied = 0;
    for (const chunk of this.#held) {
      if (copied === length) break;
      const part = chunk.subarray(0, length - copied);
      into.set(part, copied);
      copied += part.byteLength;
    }
    return copied;
  }
}
