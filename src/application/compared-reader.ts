/** Reads a blob that cannot be cached twice: a client gets no byte before the verification, and memory holds only one piece. */
import { type Digest, digestOf } from '../domain/descriptor.ts';
import { DigestMismatchError } from '../domain/errors.ts';
import type { BlobReader } from '../domain/ports/package-store.ts';

/** A blob of 512 MiB has 8192 digests. */
const PIECE_BYTES = 64 * 1024;

/** Resolves with the digests of the pieces of a blob when it is verified. Rejects as `read` of the blob does. */
export async function digestPieces(blob: BlobReader): Promise<readonly Digest[]> {
  const digests: Digest[] = [];
  for (let start = 0; start < blob.size; start += PIECE_BYTES) digests.push(digestOf(await readPiece(blob, start)));
  await blob.read(blob.size);
  return digests;
}

/** Reads a second download of the blob, and compares each piece with the verified one before the client gets it. */
export class ComparedReader implements BlobReader {
  readonly size: number;
  readonly #blob: BlobReader;
  readonly #digests: readonly Digest[];
  #piece: { readonly start: number; readonly bytes: Uint8Array } | undefined;

  constructor(blob: BlobReader, digests: readonly Digest[]) {
    this.size = blob.size;
    this.#blob = blob;
    this.#digests = digests;
  }

  /** Rejects with DigestMismatchError if a piece differs, and as the blob does. */
  async read(offset: number): Promise<Uint8Array> {
    if (offset >= this.size) return this.#blob.read(this.size);
    const start = offset - (offset % PIECE_BYTES);
    if (this.#piece?.start !== start) this.#piece = { start, bytes: await this.#verified(start) };
    return this.#piece.bytes.subarray(offset - start);
  }

  close(): Promise<void> {
    return this.#blob.close();
  }

  async #verified(start: number): Promise<Uint8Array> {
    const bytes = await readPiece(this.#blob, start);
    const [expected, found] = [String(this.#digests[start / PIECE_BYTES]), digestOf(bytes)];
    if (found !== expected) throw new DigestMismatchError(expected, found);
    return bytes;
  }
}

async function readPiece(blob: BlobReader, start: number): Promise<Uint8Array> {
  const piece = new Uint8Array(Math.min(PIECE_BYTES, blob.size - start));
  for (let filled = 0; filled < piece.byteLength;) {
    const bytes = (await blob.read(start + filled)).subarray(0, piece.byteLength - filled);
    if (bytes.byteLength === 0) throw new Error('blob is shorter than its size');
    piece.set(bytes, filled);
    filled += bytes.byteLength;
  }
  return piece;
}
