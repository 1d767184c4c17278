/** Verifies that a sequence of bytes matches a descriptor. */
import { createHash, type Hash } from 'node:crypto';
import type { Descriptor } from './descriptor.ts';
import { DigestMismatchError } from './errors.ts';

/** The last bytes of a blob that no client gets before the verification: without them a package cannot look complete. */
export const WITHHELD_BYTES = 64 * 1024;

/** Returns how many of the first `seen` bytes of a blob of `size` bytes a client may get before the verification. */
export function presentable(seen: number, size: number): number {
  return Math.min(seen, Math.max(0, size - WITHHELD_BYTES));
}

export class Verifier {
  readonly #descriptor: Pick<Descriptor, 'digest' | 'size'>;
  readonly #hash: Hash;
  #bytes: number;

  constructor(descriptor: Pick<Descriptor, 'digest' | 'size'>, hash = createHash('sha256'), bytes = 0) {
    this.#descriptor = descriptor;
    this.#hash = hash;
    this.#bytes = bytes;
  }

  /** @throws DigestMismatchError as soon as there are more bytes than the size of the descriptor. */
  update(chunk: Uint8Array): void {
    this.#bytes += chunk.byteLength;
    if (this.#bytes > this.#descriptor.size) {
      throw new DigestMismatchError(`${String(this.#descriptor.size)} bytes`, 'more bytes');
    }
    this.#hash.update(chunk);
  }

  /** The size of the blob in bytes. */
  get size(): number {
    return this.#descriptor.size;
  }

  /** The number of bytes so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Returns an independent verifier that continues from the same bytes. */
  copy(): Verifier {
    return new Verifier(this.#descriptor, this.#hash.copy(), this.#bytes);
  }

  /** Returns whether both verifiers got the same bytes. */
  hasSeenSameAs(other: Verifier): boolean {
    if (other.#bytes !== this.#bytes) return false;
    return this.#hash.copy().digest().equals(other.#hash.copy().digest());
  }

  /** Must be called once, at the end. @throws DigestMismatchError if size or digest differ. */
  verify(): void {
    if (this.#bytes !== this.#descriptor.size) {
      throw new DigestMismatchError(`${String(this.#descriptor.size)} bytes`, `${String(this.#bytes)} bytes`);
    }
    const found = `sha256:${this.#hash.digest('hex')}`;
    if (found !== this.#descriptor.digest) throw new DigestMismatchError(this.#descriptor.digest, found);
  }
}

/** Reads bytes at `offset`; resolves with their number, which is 0 at the end. */
type ReadAt = (into: Uint8Array, offset: number) => Promise<number>;

/** Large enough for the read-ahead of a disk, small enough that a reader that leaves or pauses is noticed at once. */
const PIECE_BYTES = 256 * 1024;

/**
 * Passes all bytes of `read` to `verifier`, and yields the length of each piece: the consumer sets the pace, and may leave.
 * One piece is hashed while the next one is read. Rejects as `read` does, or with DigestMismatchError if there are more
 * bytes than the size of the descriptor.
 */
export async function* readThrough(read: ReadAt, verifier: Verifier): AsyncGenerator<number> {
  const length = Math.min(PIECE_BYTES, verifier.size + 1);
  let [filled, free] = [Buffer.allocUnsafeSlow(length), Buffer.allocUnsafeSlow(length)];
  let piece = await read(filled, 0);
  for (let offset = piece; piece > 0; offset += piece) {
    const next = read(free, offset);
    const settled = next.catch(() => undefined);
    try {
      verifier.update(filled.subarray(0, piece));
      yield piece;
    } finally {
      // The caller reuses the file descriptor and the memory when this ends.
      await settled;
    }
    piece = await next;
    [filled, free] = [free, filled];
  }
}

/** Rejects with DigestMismatchError if the bytes of `read` differ from the descriptor, and as `read` and `onPiece` do. */
export async function verifyAll(
  read: ReadAt,
  descriptor: Pick<Descriptor, 'digest' | 'size'>,
  onPiece: (bytes: number) => void | Promise<void> = () => undefined,
): Promise<void> {
  const verifier = new Verifier(descriptor);
  for await (const piece of readThrough(read, verifier)) await onPiece(piece);
  verifier.verify();
}
