/** Decompresses a layer. Its first bytes name the compression, because the labels of media types are often wrong. */
import { constants, crc32, createInflateRaw, createZstdDecompress, inflateRawSync } from 'node:zlib';
import { errnoOf, InvalidContentError } from '../../domain/errors.ts';

/**
 * RFC 8878, section 3.1.1.1.2: decoders should support windows of 8 MiB, and may refuse larger ones for their memory. Layers
 * have windows of 8 MiB after `zstd --ultra` and `--long`, and after the higher levels of BuildKit and podman before 2024.
 */
const ZSTD_WINDOW_LOG_MAX = 23;
const OUTPUT_BYTES = 64 << 10;

interface Format {
  readonly magic: (head: Uint8Array) => boolean;
  /** Decompresses one frame, or one member of gzip. */
  readonly frame: (input: Input) => AsyncGenerator<Uint8Array, void, undefined>;
}

type Inflate = ReturnType<typeof createInflateRaw> | ReturnType<typeof createZstdDecompress>;

const FORMATS: readonly Format[] = [
  { magic: ([first, second]) => first === 0x1f && second === 0x8b, frame: gzipMember },
  {
    // The magic of a frame, or of a skippable frame (RFC 8878, section 3.1.2).
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
 * Yields chunks that are valid until the next one is requested. Rejects with InvalidContentError if the compressed data is
 * invalid, and with the reason of `signal`, also during a sequence of empty frames.
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
    // Bytes after a frame that are not a further frame fail only here: a reader that has its file has left by then, as in
    // Go.
    while (await input.hasFrame()) {
      // There may be very many small or empty frames, so other work, such as the time limit, runs between them.
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

/** RFC 1952. Node's gzip decoder would lose its last output if the bytes after a member are not a further member. */
async function* gzipMember(input: Input): AsyncGenerator<Uint8Array, void, undefined> {
  const [first, second, method, flags = 0] = await input.take(10);
  if (first !== 0x1f || second !== 0x8b || method !== 8) throw notValid('gzip');
  if ((flags & 4) !== 0) await input.take((await input.take(2)).readUInt16LE());
  // The fields are a name and a comment.
  if ((flags & 8) !== 0) await input.skipText();
  if ((flags & 16) !== 0) await input.skipText();
  if ((flags & 2) !== 0) await input.take(2);
  let [sum, size] = [0, 0];
  // The last chunk is withheld until the checksum is verified.
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
 * Decompresses a member that is complete in its chunk and has at most 64 KiB. A layer of eStargz has one for each file: 2
 * 500 of them took 0.8 s with a stream for each, and take 0.3 s here.
 */
function inflateSmall(input: Input, chunk: Uint8Array = new Uint8Array(0)): Uint8Array | undefined {
  try {
    // With `info` the result includes the decoder, which knows how many bytes it has read.
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

/** Ends at the end of the frame, even if the chunk has more bytes. */
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
    // Where a frame ends with its chunk, the decoder goes on, and refuses padding because it is no frame.
    if (errnoOf(error) !== 'ZSTD_error_prefix_unknown' || inflate.bytesWritten === 0) throw notValid(format, error);
  } finally {
    inflate.destroy();
    await fed;
  }
}

/**
 * Frees the memory of a chunk that fills its buffer; zlib still writes to a buffer that is not full. The garbage collector
 * frees these buffers so late that a file of 12 MiB, read twice, left 24 MiB.
 */
function free({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

/** Writes chunks until the input or the frame ends, and puts back the bytes after the frame. */
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

/** The chunks of a layer; the last one can be put back. */
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

  /** Resolves with this number of bytes. Rejects with InvalidContentError if there are fewer. */
  async take(bytes: number): Promise<Buffer> {
    const taken: Uint8Array[] = [];
    for (let left = bytes; left > 0;) {
      const chunk = await this.next();
      if (chunk === undefined) throw notValid('gzip');
      // The bytes are copied, because they are used after the next request for a chunk.
      taken.push(Uint8Array.from(chunk.subarray(0, left)));
      this.putBack(chunk.subarray(left));
      left -= Math.min(left, chunk.byteLength);
    }
    return Buffer.concat(taken);
  }

  /** Skips a text including the NUL at its end. */
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

  /** Resolves with whether a frame follows. Zeros after the last frame are padding (gzip manual, "Tapes"). */
  async hasFrame(): Promise<boolean> {
    const next = await this.next();
    if (next !== undefined) this.putBack(next);
    return next !== undefined && next[0] !== 0;
  }

  async format(): Promise<Format | undefined> {
    let head = (await this.next()) ?? new Uint8Array(0);
    while (head.byteLength < MAGIC_BYTES) {
      // The bytes are copied, because they are used after the next request for a chunk.
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
