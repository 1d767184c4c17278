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
