/** Sources of bytes that a test controls. */
import type { Descriptor } from '../../src/domain/descriptor.ts';
import type { BlobReader, IncomingBlob, PackageStore } from '../../src/domain/ports/package-store.ts';

/** Opens the bytes of a blob from its first on. */
export type BlobSource = () => Promise<AsyncIterable<Uint8Array>>;

/** Reserves room for a blob, opens its source and begins to write, as the use cases do. */
export async function ingest(store: PackageStore, descriptor: Descriptor, open: BlobSource): Promise<IncomingBlob> {
  const reservation = await store.reserve(descriptor);
  try {
    return reservation.write(await open());
  } catch (error) {
    await reservation.abort();
    throw error;
  }
}

/** All of `bytes`, in chunks. */
export function sourceOf(bytes: Uint8Array, chunkBytes = 10_000): BlobSource {
  return async () => chunksOf(bytes, chunkBytes);
}

export async function* chunksOf(bytes: Uint8Array, chunkBytes = 10_000): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.byteLength; offset += chunkBytes) {
    yield* once(bytes.subarray(offset, offset + chunkBytes));
  }
}

/** A chunk that the next read invalidates, as the port allows. */
function* once(chunk: Uint8Array): Generator<Uint8Array> {
  const lent = new Uint8Array(chunk);
  yield lent;
  lent.fill(0xdd);
}

/** A source that delivers each chunk when the test gives it. */
export class HeldSource {
  readonly #steps: (Uint8Array | Error | 'end')[] = [];
  #wake: PromiseWithResolvers<void> = Promise.withResolvers();
  opened = 0;
  left = false;
  /** The reader has read all given chunks and waits for the next one. */
  waits = false;

  readonly source: BlobSource = async () => {
    this.opened++;
    return this.#chunks();
  };

  give(bytes: Uint8Array): this {
    return this.#step(bytes);
  }

  fail(error: Error): this {
    return this.#step(error);
  }

  end(): this {
    return this.#step('end');
  }

  #step(step: Uint8Array | Error | 'end'): this {
    this.#steps.push(step);
    this.#wake.resolve();
    return this;
  }

  async *#chunks(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const step = this.#steps.shift();
        if (step === undefined) {
          this.#wake = Promise.withResolvers();
          this.waits = true;
          await this.#wake.promise;
          this.waits = false;
        } else if (step === 'end') return;
        else if (step instanceof Error) throw step;
        else yield* once(step);
      }
    } finally {
      this.left = true;
    }
  }
}

/** Reads a blob from `offset` to its verified end, and closes the reader. */
export async function readAll(reader: BlobReader, offset = 0): Promise<Buffer> {
  try {
    const bytes = await readUpTo(reader, reader.size, offset);
    await reader.read(reader.size);
    return bytes;
  } finally {
    await reader.close();
  }
}

/** Reads exactly `length` bytes from the blob's start; the reader stays open. */
export async function readSome(reader: BlobReader, length: number): Promise<Buffer> {
  return readUpTo(reader, length, 0);
}

async function readUpTo(reader: BlobReader, end: number, start: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for (let at = start; at < end;) {
    const chunk = Buffer.from((await reader.read(at)).subarray(0, end - at));
    if (chunk.byteLength === 0) break;
    chunks.push(chunk);
    at += chunk.byteLength;
  }
  return Buffer.concat(chunks);
}
