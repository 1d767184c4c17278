/** A keyed mutex: one caller after the other for each key; a later one may find that the work is done. */

export class Turns<Key> {
  readonly #last = new Map<Key, Promise<unknown>>();

  /** Begins when all that came before under this key have ended, however they did. */
  async take<Outcome>(key: Key, work: () => Promise<Outcome>): Promise<Outcome> {
    const before = this.#last.get(key) ?? Promise.resolve();
    const turn = before.then(work, work);
    this.#last.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.#last.get(key) === turn) this.#last.delete(key);
    }
  }
}
