/** The bytes of a layer without its compression, which its first bytes name: labels of media types are often wrong. */
import { constants, crc32, createInflateRaw, createZstdDecompress, inflateRawSync } from 'node:zlib';
import { errnoOf, InvalidContentError } from '../../domain/errors.ts';

/**
 * RFC 8878, section 3.1.1.1.2: decoders should support windows of 8 MiB, and may refuse larger ones for their memory. Layers
 * have them by `zstd --ultra` and `--long`, and by the higher levels of BuildKit and podman of before 2024.
 */
const ZSTD_WINDOW_LOG_MAX = 23;
const OUTPUT_BYTES = 64 << 10;

interface Format {
  readonly magic: (head: Uint8Array) => boolean;
  /** One frame, or one member of gzip. */
  readonly frame: (input: Input) => AsyncGenerator<Uint8Array, void, undefined>;
}

type Inflate = ReturnType<typeof createInflateRaw> | ReturnType<typeof createZstdDecompress>;

const FORMATS: readonly Format[] = [
  { magic: ([first, second]) => first === 0x1f && second === 0x8b, frame: gzipMember },
  {
    // A frame, or one to skip (RFC 8878, section 3.1.2).
    magic: ([first = 0, second, third, fourth]) =>
      (first === 0x28 && second === 0xb5 && third === 0x2f && fourth === 0xfd) ||
      (first >> 4 === 5 && second === 0x2a && third === 0x4d && fourth === 0x18),
    frame: (input) => {
      const params = { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX };
      return inflated('zstd', createZstdDecompress({ chunkSize: OUTPUT_BYTES, params }), input);
    },
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
    // Bytes behind a frame that are no further one fail only here: a reader that has its file is gone by then, as with Go.
    while (await input.hasFrame()) {
      // Frames may be small, or empty, and very many: others, the time limit among them, have their turn in between.
      await new Promise((resolve) => setImmediate(resolve));
      for await (const chunk of format.frame(input)) {
        yield chunk;
        free(chunk);
      }
    }
  } finally {
    await input.close();
  }
}

/** RFC 1952. Node's decoder of gzip would drop what it has decoded last when bytes behind a member are no further one. */
async function* gzipMember(input: Input): AsyncGenerator<Uint8Array, void, undefined> {
  const [first, second, method, flags = 0] = await input.take(10);
  if (first !== 0x1f || second !== 0x8b || method !== 8) throw notValid('gzip');
  if ((flags & 4) !== 0) await input.take((await input.take(2)).readUInt16LE());
  // A name, and a comment.
  if ((flags & 8) !== 0) await input.skipText();
  if ((flags & 16) !== 0) await input.skipText();
  if ((flags & 2) !== 0) await input.take(2);
  let [sum, size] = [0, 0];
  // The last chunk waits for the checksum.
  let last: Uint8Array | undefined;
  for await (const chunk of inflatedMember(input)) {
    sum = crc32(chunk, sum);
    size = (size + chunk.byteLength) % 2 ** 32;
    if (last !== undefined) yield last;
    last = chunk;
  }
  const trailer = await input.take(8);
  if (trailer.readUInt32LE(0) !== sum || trailer.readUInt32LE(4) !== size) throw notValid('gzip');
  if (last !== undefined) yield last;
}

async function* inflatedMember(input: Input): AsyncGenerator<Uint8Array, void, undefined> {
  const small = inflateSmall(input, await input.next());
  if (small === undefined) yield* inflated('gzip', createInflateRaw({ chunkSize: OUTPUT_BYTES }), input);
  else if (small.byteLength > 0) yield small;
}

/**
 * A member that is whole in its chunk and has 64 KiB at most: a layer of eStargz has one for each file, and a stream for each
 * of 2 500 took 0.8 s, where this takes 0.3.
 */
function inflateSmall(input: Input, chunk: Uint8Array = new Uint8Array(0)): Uint8Array | undefined {
  try {
    // With `info` it also returns the decoder, which knows how much it has read.
    const inflated: unknown = inflateRawSync(chunk, { info: true, maxOutputLength: OUTPUT_BYTES });
    const { buffer, engine } = inflated as {
      readonly buffer: Buffer;
      readonly engine: { readonly bytesWritten: number };
    };
    input.putBack(chunk.subarray(engine.bytesWritten));
    return buffer;
  } catch {
    input.putBack(chunk);
    return undefined;
  }
}

function notValid(format: string, cause?: unknown): InvalidContentError {
  const isWide = errnoOf(cause) === 'ZSTD_error_frameParameter_windowTooLarge';
  const what = isWide ? 'needs a window of more than 8 MiB to be unpacked' : `is not valid ${format}`;
  return new InvalidContentError(`layer ${what}`, { cause });
}

/** Ends with the frame, also where more follows in the same chunk. */
async function* inflated(format: string, inflate: Inflate, input: Input): AsyncGenerator<Uint8Array, void, undefined> {
  const source: { failed?: { readonly error: unknown } } = {};
  const fed = feed(inflate, input).catch((error: unknown) => {
    source.failed = { error };
    inflate.destroy();
  });
  try {
    for await (const chunk of inflate) yield chunk as Uint8Array;
  } catch (error) {
    if (source.failed !== undefined) throw source.failed.error;
    throw notValid(format, error);
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

  /** So many bytes. Rejects with InvalidContentError when there are fewer. */
  async take(bytes: number): Promise<Buffer> {
    const taken: Uint8Array[] = [];
    for (let left = bytes; left > 0;) {
      const chunk = await this.next();
      if (chunk === undefined) throw notValid('gzip');
      // A copy: the chunk is used after the next one is asked for.
      taken.push(Uint8Array.from(chunk.subarray(0, left)));
      this.putBack(chunk.subarray(left));
      left -= Math.min(left, chunk.byteLength);
    }
    return Buffer.concat(taken);
  }

  /** Up to the NUL at its end. */
  async skipText(): Promise<void> {
    for (;;) {
      const chunk = await this.next();
      if (chunk === undefined) throw notValid('gzip');
      const end = chunk.indexOf(0);
      if (end < 0) continue;
      this.putBack(chunk.subarray(end + 1));
      return;
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
