/** One run per key, however many ask while it lasts; all of them share its outcome. */

export class SingleFlight<Key, Outcome> {
  readonly #running = new Map<Key, Promise<Outcome>>();

  run(key: Key, start: () => Promise<Outcome>): Promise<Outcome> {
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const started = start().finally(() => this.#running.delete(key));
    this.#running.set(key, started);
    return started;
  }
}
