/** Blobs on their way into a layout: each once, however many images have it, and all of them in one sum. */
import type { Descriptor } from '../domain/descriptor.ts';
import type { Digest } from '../domain/digest.ts';
import type { ImageLayout } from '../domain/ports/image-layout.ts';
import type { FetchFrom } from './resumed-download.ts';
import { Turns } from './turns.ts';
import { writeBlob } from './write-blob.ts';

export class BlobArrivals {
  readonly #layout: ImageLayout;
  readonly #onProgress: () => void;
  /** How much of each blob is there. */
  readonly #bytes = new Map<Digest, number>();
  readonly #turns = new Turns<Digest>();
  /** With the size that a manifest said: another one may lie about it. */
  readonly #arrived = new Set<string>();
  #here = 0;
  #fetched = 0;

  constructor(layout: ImageLayout, onProgress: () => void) {
    this.#layout = layout;
    this.#onProgress = onProgress;
  }

  /** Bytes of all blobs that are here, of those that are arriving too. */
  get here(): number {
    return this.#here;
  }

  /** Bytes that did not lie here before, those of failed tries too. */
  get fetched(): number {
    return this.#fetched;
  }

  /** A second caller tries for itself when the first has failed: it may have another repository to ask. Rejects as `writeBlob`. */
  async bring(blob: Descriptor, fetch: FetchFrom, signal: AbortSignal): Promise<void> {
    await this.#turns.take(blob.digest, async () => {
      if (this.#arrived.has(keyOf(blob))) return;
      const counted: FetchFrom = async (offset) => this.#count(await fetch(offset));
      const onBytes = (here: number): void => {
        this.#here += here - (this.#bytes.get(blob.digest) ?? 0);
        this.#bytes.set(blob.digest, here);
        this.#onProgress();
      };
      await writeBlob(this.#layout, blob, counted, signal, onBytes);
      this.#arrived.add(keyOf(blob));
    });
  }

  async *#count(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      this.#fetched += chunk.byteLength;
      yield chunk;
    }
  }
}

function keyOf({ digest, size }: Descriptor): string {
  return `${digest} ${String(size)}`;
}
