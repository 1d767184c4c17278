/** A random source with a seed: a failure prints the seed, and SEED=… repeats the run. */
export class Dice {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed;
    this.#state = seed >>> 0;
  }

  /** Takes the seed from the variable SEED, or makes a new one. */
  static ofEnvironment(): Dice {
    return new Dice(Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32)));
  }

  /** At least 0 and less than `limit`. */
  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  /** True once in `times` calls on average. */
  onceIn(times: number): boolean {
    return this.below(times) === 0;
  }

  /** Mulberry32, by Tommy Ettinger: 32 bits of state, good enough to shuffle inputs. */
  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
}
