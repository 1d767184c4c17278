/** Random values that a seed repeats: the keystream of a cipher whose key is the hash of the seed. */
import { createCipheriv, createHash, randomInt } from 'node:crypto';

/**
 * Concurrent work must not use the same source, because the values would depend on the order of events: take all values
 * before, or `fork`.
 */
export class Random {
  readonly seed: string;
  readonly #stream: ReturnType<typeof createCipheriv>;
  #forks = 0;

  constructor(seed: string) {
    this.seed = seed;
    const key = createHash('sha256').update(seed).digest();
    this.#stream = createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16));
  }

  static freshSeed(): number {
    return randomInt(1_000_000_000);
  }

  /** A new source; later calls of this one do not change its values. */
  fork(): Random {
    return new Random(`${this.seed}.${String(++this.#forks)}`);
  }

  bytes(length: number): Uint8Array {
    const { buffer, byteOffset } = this.#stream.update(Buffer.alloc(length));
    // A Uint8Array, because `slice` of a Buffer does not copy.
    return new Uint8Array(buffer, byteOffset, length);
  }

  /** At least `from` and less than `to`. */
  between(from: number, to: number): number {
    const unit = Buffer.from(this.bytes(6)).readUIntBE(0, 6) / 2 ** 48;
    return from + Math.floor(unit * (to - from));
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.between(0, 1_000_000) < probability * 1_000_000;
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.between(0, items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }
}
