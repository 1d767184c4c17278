/** A blob on its way into the real store, and the other end of it. */
import { UpstreamUnavailableError } from '../../src/domain/errors.ts';
import type { BlobReader, IncomingBlob } from '../../src/domain/ports/package-store.ts';
import { presentable } from '../../src/domain/verifier.ts';
import type { HeldSource } from '../support/source.ts';
import type { ModelFile } from './store-model.ts';

export type Delivery = 'right' | 'wrong' | 'short' | 'long' | 'failing';

/** Whether there is room up to `end`, for a write of the last `length` bytes. */
type HasRoom = (end: number, length: number) => boolean;

const WRITE_BYTES = 128 * 1024;

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

  /** Bytes that have been given and written. */
  get given(): number {
    return this.#given;
  }

  /** Fulfils when the store has taken all that was given, or has given up. */
  async taken(): Promise<void> {
    const { source } = this.#options;
    while (!source.waits && !source.left) await new Promise((resolve) => setImmediate(resolve));
  }

  /** How much of it may be read, unless it is kept. */
  get readable(): number {
    return presentable(this.#given, this.file.size);
  }

  read(): BlobReader {
    return this.#options.incoming.read();
  }

  /** Half of what is left, never the last byte, the one that is wrong or missing; false when there is no room for it. */
  give(hasRoom: HasRoom): boolean {
    const { bytes } = this.file.blob;
    const end = this.#given + Math.floor((bytes.byteLength - this.#given) / 2);
    if (end === this.#given) return true;
    this.#options.source.waits = false;
    this.#options.source.give(bytes.subarray(this.#given, end));
    if (!this.#isWritten(end, hasRoom)) return false;
    this.#given = end;
    return true;
  }

  /** All that is still to come; says whether it is to be kept, `full` when there is no room for it. */
  finish(hasRoom: HasRoom): boolean | 'full' {
    const { source, delivery, file } = this.#options;
    const rest = file.blob.bytes.slice(this.#given);
    const last = rest.byteLength - 1;
    const isEmpty = last < 0;
    if (delivery === 'wrong' && !isEmpty) rest[last] = (rest[last] ?? 0) ^ 1;
    source.give(delivery === 'short' && !isEmpty ? rest.subarray(0, last) : rest);
    if (delivery === 'long') source.give(Uint8Array.of(0));
    if (delivery === 'failing') source.fail(new UpstreamUnavailableError());
    else source.end();
    const end = this.#given + (delivery === 'short' && !isEmpty ? last : rest.byteLength);
    if (!this.#isWritten(end, hasRoom)) return 'full';
    this.#given = end;
    return delivery === 'right' || (isEmpty && (delivery === 'wrong' || delivery === 'short'));
  }

  /** The store takes the room of a whole chunk, and then writes it in pieces. */
  #isWritten(end: number, hasRoom: HasRoom): boolean {
    for (let at = this.#given; at < end; at += WRITE_BYTES) if (!hasRoom(end, end - at)) return false;
    return true;
  }

  async stop(): Promise<void> {
    this.#options.source.fail(new UpstreamUnavailableError());
    await this.settled.catch(() => undefined);
  }
}
