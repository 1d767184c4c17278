/** A download into the real store, with the source that sends its bytes. */
import { UpstreamUnavailableError } from '../../src/domain/errors.ts';
import type { BlobReader, IncomingBlob } from '../../src/domain/ports/package-store.ts';
import { presentable } from '../../src/domain/verifier.ts';
import type { HeldSource } from '../support/source.ts';
import type { ModelFile } from './store-model.ts';

export type Delivery = 'right' | 'wrong' | 'short' | 'long' | 'failing';

/** Tells whether a write of `length` bytes that ends at `end` has room. */
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

  /** Bytes that the source has sent and the store has written. */
  get given(): number {
    return this.#given;
  }

  /** Resolves when the store has read all sent bytes, or has ended the download. */
  async taken(): Promise<void> {
    const { source } = this.#options;
    while (!source.waits && !source.left) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Bytes that a reader can get before the blob is verified and cached. */
  get readable(): number {
    return presentable(this.#given, this.file.size);
  }

  read(): BlobReader {
    return this.#options.incoming.read();
  }

  /** Sends half of the missing bytes without the last one, which may be wrong or missing; false without room for them. */
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

  /** Sends the missing bytes; returns whether the store must cache the blob, and `full` without room for them. */
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

  /** The store reserves room for a whole chunk before it writes the chunk in pieces. */
  #isWritten(end: number, hasRoom: HasRoom): boolean {
    for (let at = this.#given; at < end; at += WRITE_BYTES) if (!hasRoom(end, end - at)) return false;
    return true;
  }

  async stop(): Promise<void> {
    this.#options.source.fail(new UpstreamUnavailableError());
    await this.settled.catch(() => undefined);
  }
}
