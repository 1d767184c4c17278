/** A keyed mutex: runs the work of each key one after the other. */

export class KeyedMutex<Key> {
  readonly #last = new Map<Key, Promise<unknown>>();

  /** Begins when all earlier work of this key has settled. */
  async runExclusive<Outcome>(key: Key, work: () => Promise<Outcome>): Promise<Outcome> {
    const before = this.#last.get(key) ?? Promise.resolve();
    const mine = before.then(work, work);
    this.#last.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#last.get(key) === mine) this.#last.delete(key);
    }
  }
}
