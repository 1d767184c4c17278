/** A blob on its way into the real store, and the other end of it. */
import { UpstreamUnavailableError } from '../../src/domain/errors.ts';
import type { BlobReader, IncomingBlob } from '../../src/domain/ports/package-store.ts';
import { presentable } from '../../src/domain/proof.ts';
import type { HeldSource } from '../support/source.ts';
import type { ModelFile } from './store-model.ts';

export type Delivery = 'right' | 'wrong' | 'short' | 'long' | 'failing';

export interface FillOptions {
  readonly file: ModelFile;
  readonly incoming: IncomingBlob;
  readonly source: HeldSource;
  readonly delivery: Delivery;
}

export class Fill {
  readonly #options: FillOptions;
  #given = 0;

  constructor(options: FillOptions) {
    this.#options = options;
  }

  get file(): ModelFile {
    return this.#options.file;
  }

  get delivery(): Delivery {
    return this.#options.delivery;
  }

  get settled(): Promise<void> {
    return this.#options.incoming.settled;
  }

  /** How much of it may be read, unless it is kept. */
  get readable(): number {
    return presentable(this.#given, this.file.size);
  }

  read(): BlobReader {
    return this.#options.incoming.read();
  }

  /** Half of what is left; never the last byte, the one that is wrong or missing. */
  give(): void {
    const { bytes } = this.file.blob;
    const start = this.#given;
    this.#given += Math.floor((bytes.byteLength - start) / 2);
    if (this.#given > start) this.#options.source.give(bytes.subarray(start, this.#given));
  }

  /** All that is still to come; says whether it is to be kept. */
  finish(): boolean {
    const { source, delivery, file } = this.#options;
    const rest = file.blob.bytes.slice(this.#given);
    const last = rest.byteLength - 1;
    const isEmpty = last < 0;
    if (delivery === 'wrong' && !isEmpty) rest[last] = (rest[last] ?? 0) ^ 1;
    source.give(delivery === 'short' && !isEmpty ? rest.subarray(0, last) : rest);
    if (delivery === 'long') source.give(Uint8Array.of(0));
    if (delivery === 'failing') source.fail(new UpstreamUnavailableError());
    else source.end();
    // What is shorter than a block and all of it, as far as may be seen before the proof, has been given now.
    this.#given += delivery === 'short' && !isEmpty ? last : rest.byteLength;
    return delivery === 'right' || (isEmpty && (delivery === 'wrong' || delivery === 'short'));
  }

  async stop(): Promise<void> {
    this.#options.source.fail(new UpstreamUnavailableError());
    await this.settled.catch(() => undefined);
  }
}
