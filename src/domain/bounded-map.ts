/** A map for facts that can be learned again: when it is full, a new entry replaces the oldest one. */
export class BoundedMap<Key, Value> extends Map<Key, Value> {
  readonly #most: number;

  constructor(most: number) {
    super();
    this.#most = most;
  }

  /** Sets the entry and makes it the newest one. */
  override set(key: Key, value: Value): this {
    this.delete(key);
    const oldest = this.keys().next();
    if (oldest.done !== true && this.size >= this.#most) this.delete(oldest.value);
    return super.set(key, value);
  }
}
