/** A memory of facts that can be learned again: its oldest entry leaves for each one that it has no room for. */
export class BoundedMap<Key, Value> extends Map<Key, Value> {
  readonly #most: number;

  constructor(most: number) {
    super();
    this.#most = most;
  }

  /** Makes the entry the latest one. */
  override set(key: Key, value: Value): this {
    this.delete(key);
    const oldest = this.keys().next();
    if (oldest.done !== true && this.size >= this.#most) this.delete(oldest.value);
    return super.set(key, value);
  }
}
