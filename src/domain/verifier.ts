/** Verifies that bytes which went by are the ones that a descriptor names. */
import { createHash, type Hash } from 'node:crypto';
import type { Descriptor } from './descriptor.ts';
import { DigestMismatchError } from './errors.ts';

/** How much of a blob no client may see before all of it is verified: without its end a package cannot look complete. */
export const WITHHELD_BYTES = 64 * 1024;

/** How many of the first `seen` bytes of a blob of `size` bytes may be shown before it is verified. */
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

  /** @throws DigestMismatchError as soon as there are more bytes than the descriptor says. */
  update(chunk: Uint8Array): void {
    this.#bytes += chunk.byteLength;
    if (this.#bytes > this.#descriptor.size) {
      throw new DigestMismatchError(`${String(this.#descriptor.size)} bytes`, 'more bytes');
    }
    this.#hash.update(chunk);
  }

  /** How many bytes the blob has. */
  get size(): number {
    return this.#descriptor.size;
  }

  /** How many bytes it has seen. */
  get bytes(): number {
    return this.#bytes;
  }

  /** A verifier of its own that goes on from the same bytes. */
  copy(): Verifier {
    return new Verifier(this.#descriptor, this.#hash.copy(), this.#bytes);
  }

  /** Whether both have seen the same bytes. */
  hasSeenSameAs(other: Verifier): boolean {
    if (other.#bytes !== this.#bytes) return false;
    return this.#hash.copy().digest().equals(other.#hash.copy().digest());
  }

  /** To be called once, at the end. @throws DigestMismatchError when size or digest differ. */
  verify(): void {
    if (this.#bytes !== this.#descriptor.size) {
      throw new DigestMismatchError(`${String(this.#descriptor.size)} bytes`, `${String(this.#bytes)} bytes`);
    }
    const found = `sha256:${this.#hash.digest('hex')}`;
    if (found !== this.#descriptor.digest) throw new DigestMismatchError(this.#descriptor.digest, found);
  }
}

/** Reads bytes at `offset`; resolves with how many, 0 at the end. */
type ReadAt = (into: Uint8Array, offset: number) => Promise<number>;

/** Large enough that a disk reads ahead, small enough that a reader who leaves or pauses is noticed at once. */
const PIECE_BYTES = 256 * 1024;

/**
 * Shows all that `read` has to `verifier`, and yields the length of each piece: the consumer sets the pace, and may leave.
 * One piece is hashed while the next one is read. Rejects as `read` does, or with DigestMismatchError when there is more
 * than the verifier's descriptor says.
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
      // The descriptor and the memory belong to others as soon as this ends.
      await settled;
    }
    piece = await next;
    [filled, free] = [free, filled];
  }
}

/** Rejects with DigestMismatchError when `read` has other bytes than the descriptor says, and as `read` and `onPiece` do. */
export async function verifyAll(
  read: ReadAt,
  descriptor: Pick<Descriptor, 'digest' | 'size'>,
  onPiece: (bytes: number) => void | Promise<void> = () => undefined,
): Promise<void> {
  const verifier = new Verifier(descriptor);
  for await (const piece of readThrough(read, verifier)) await onPiece(piece);
  verifier.verify();
}
