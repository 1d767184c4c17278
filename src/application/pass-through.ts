/** A blob straight from its upstream to one client, proved on the way, for when it cannot be kept. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';
import { presentable, Proof, WITHHELD_BYTES } from '../domain/proof.ts';

/** Reads forward only: an offset before that of an earlier read rejects. */
export class PassThrough implements BlobReader {
  readonly size: number;
  readonly #proof: Proof;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #abandon: () => void;
  /** The source's own chunk, as far as it may be shown at once, and where it lies. */
  #chunk: Uint8Array = new Uint8Array();
  #chunkStart = 0;
  /** The end of the blob, ours to keep: the source uses its buffers again. */
  readonly #withheld: Uint8Array;
  #seen = 0;
  #proved = false;

  /** `abandon` tells the source at once that nobody reads on, also when it is being waited for. */
  constructor(blob: Descriptor, chunks: AsyncIterable<Uint8Array>, abandon: () => void) {
    this.size = blob.size;
    this.#proof = new Proof(blob);
    this.#withheld = new Uint8Array(Math.min(blob.size, WITHHELD_BYTES));
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#abandon = abandon;
  }

  async read(offset: number): Promise<Uint8Array> {
    while (offset >= this.#presentable && !this.#proved) await this.#receive();
    if (offset >= this.size) return new Uint8Array();
    const withheldFrom = this.#withheldFrom;
    if (offset >= withheldFrom) return this.#withheld.subarray(offset - withheldFrom);
    if (offset < this.#chunkStart) throw new Error('what has passed through cannot be read again');
    return this.#chunk.subarray(offset - this.#chunkStart);
  }

  async close(): Promise<void> {
    this.#abandon();
    await this.#chunks.return?.();
  }

  get #withheldFrom(): number {
    return this.size - this.#withheld.byteLength;
  }

  get #presentable(): number {
    return this.#proved ? this.size : presentable(this.#seen, this.size);
  }

  async #receive(): Promise<void> {
    const next = await this.#chunks.next();
    if (next.done === true) {
      this.#proof.conclude();
      this.#proved = true;
      return;
    }
    this.#proof.update(next.value);
    const shown = Math.max(0, Math.min(next.value.byteLength, this.#withheldFrom - this.#seen));
    this.#chunk = next.value.subarray(0, shown);
    this.#chunkStart = this.#seen;
    if (shown < next.value.byteLength) {
      this.#withheld.set(next.value.subarray(shown), this.#seen + shown - this.#withheldFrom);
    }
    this.#seen += next.value.byteLength;
  }
}
