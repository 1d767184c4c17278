/** The bytes of a layer without its compression, which its first bytes name: labels of media types are often wrong. */
import { constants, createGunzip, createZstdDecompress } from 'node:zlib';
import { errnoOf, InvalidContentError } from '../../domain/errors.ts';

/**
 * RFC 8878, section 3.1.1.1.2: decoders should support windows of 8 MiB, and may refuse larger ones for their memory. Layers
 * have them by `zstd --ultra` and `--long`, and by the higher levels of BuildKit and podman of before 2024.
 */
const ZSTD_WINDOW_LOG_MAX = 23;
const OUTPUT_BYTES = 64 << 10;

interface Format {
  readonly name: 'gzip' | 'zstd';
  readonly magic: (head: Uint8Array) => boolean;
  readonly inflate: () => Inflate;
}

type Inflate = ReturnType<typeof createGunzip> | ReturnType<typeof createZstdDecompress>;

const FORMATS: readonly Format[] = [
  {
    name: 'gzip',
    magic: ([first, second]) => first === 0x1f && second === 0x8b,
    inflate: () => createGunzip({ chunkSize: OUTPUT_BYTES }),
  },
  {
    name: 'zstd',
    // A frame, or one to skip (RFC 8878, section 3.1.2).
    magic: ([first = 0, second, third, fourth]) =>
      (first === 0x28 && second === 0xb5 && third === 0x2f && fourth === 0xfd) ||
      (first >> 4 === 5 && second === 0x2a && third === 0x4d && fourth === 0x18),
    inflate: () =>
      createZstdDecompress({
        chunkSize: OUTPUT_BYTES,
        params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX },
      }),
  },
];
const MAGIC_BYTES = 4;

/**
 * Each chunk is valid until the next one is asked for. Rejects with InvalidContentError when the compression is broken, and
 * with the reason of `signal`, also while frames without content follow each other.
 */
export async function* unpacked(
  layer: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const input = new Input(layer[Symbol.asyncIterator](), signal);
  try {
    const format = await input.format();
    if (format === undefined) {
      for (let chunk = await input.next(); chunk !== undefined; chunk = await input.next())
        yield Uint8Array.from(chunk);
      return;
    }
    // Node decodes one frame of zstd a stream where the next one begins in the same chunk, and drops the rest unsaid.
    while (await input.hasFrame()) yield* inflated(format, input);
  } finally {
    await input.close();
  }
}

async function* inflated({ name, inflate: open }: Format, input: Input): AsyncGenerator<Uint8Array, void, undefined> {
  const inflate = open();
  const source: { failed?: { readonly error: unknown } } = {};
  const fed = feed(inflate, input).catch((error: unknown) => {
    source.failed = { error };
    inflate.destroy();
  });
  try {
    for await (const chunk of inflate) {
      yield chunk as Uint8Array;
      free(chunk as Uint8Array);
    }
  } catch (error) {
    if (source.failed !== undefined) throw source.failed.error;
    const isWide = errnoOf(error) === 'ZSTD_error_frameParameter_windowTooLarge';
    const what = isWide ? 'needs a window of more than 8 MiB to be unpacked' : `is not valid ${name}`;
    throw new InvalidContentError(`layer ${what}`, { cause: error });
  } finally {
    inflate.destroy();
    await fed;
  }
}

/**
 * Frees the memory of a chunk that fills its buffer; in another buffer zlib goes on writing. The collector hears of these
 * buffers so late that a file of 12 MiB, which is read twice, left 24 MiB for it.
 */
function free({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

/** Writes chunk by chunk until the input or the frame ends, and puts back the bytes behind the frame. */
async function feed(inflate: Inflate, input: Input): Promise<void> {
  const closed = new Promise<void>((resolve) => inflate.once('close', resolve));
  let written = 0;
  for (;;) {
    const chunk = await input.next();
    if (chunk === undefined) {
      inflate.end();
      return;
    }
    written += chunk.byteLength;
    const taken = new Promise<void>((resolve) => {
      inflate.write(chunk, () => {
        resolve();
      });
    });
    await Promise.race([taken, closed]);
    const left = written - inflate.bytesWritten;
    if (left > 0 || inflate.destroyed) {
      input.putBack(chunk.subarray(chunk.byteLength - left));
      return;
    }
  }
}

/** The chunks of a layer, of which the last can be put back. */
class Input {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #signal: AbortSignal;
  #putBack: Uint8Array | undefined;

  constructor(chunks: AsyncIterator<Uint8Array>, signal: AbortSignal) {
    this.#chunks = chunks;
    this.#signal = signal;
  }

  async next(): Promise<Uint8Array | undefined> {
    this.#signal.throwIfAborted();
    const putBack = this.#putBack;
    this.#putBack = undefined;
    if (putBack !== undefined) return putBack;
    for (;;) {
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      if (next.value.byteLength > 0) return next.value;
    }
  }

  putBack(chunk: Uint8Array): void {
    if (chunk.byteLength > 0) this.#putBack = chunk;
  }

  /** Zeros behind the last frame are padding (gzip manual, "Tapes"). */
  async hasFrame(): Promise<boolean> {
    const next = await this.next();
    if (next !== undefined) this.putBack(next);
    return next !== undefined && next[0] !== 0;
  }

  async format(): Promise<Format | undefined> {
    let head = (await this.next()) ?? new Uint8Array(0);
    while (head.byteLength < MAGIC_BYTES) {
      // A copy: the chunk is used after the next one is asked for.
      head = Uint8Array.from(head);
      const more = await this.next();
      if (more === undefined) break;
      head = Buffer.concat([head, more]);
    }
    this.putBack(head);
    return FORMATS.find(({ magic }) => magic(head));
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
