/** One bound for the blocks that all shared bodies hold, however many downloads pass through at a time. */

/** 16 MiB of blocks of 64 KiB, besides one block of each body. */
const MAX_BLOCKS = 256;

export class WindowMemory {
  readonly #max: number;
  #blocks = 0;

  /** `max` is a number of blocks. */
  constructor(max = MAX_BLOCKS) {
    this.#max = max;
  }

  get isFull(): boolean {
    return this.#blocks >= this.#max;
  }

  get blocks(): number {
    return this.#blocks;
  }

  add(blocks: number): void {
    this.#blocks += blocks;
  }
}
