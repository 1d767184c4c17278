/** A binary heap of actions, ordered by due time; actions with the same time run in the order in which they were added. */

interface Event {
  readonly due: number;
  readonly action: () => void;
  readonly order: number;
}

export class EventQueue {
  readonly #heap: Event[] = [];
  #added = 0;

  get size(): number {
    return this.#heap.length;
  }

  get isEmpty(): boolean {
    return this.#heap.length === 0;
  }

  /** Infinity if the queue is empty. */
  get nextDue(): number {
    return this.#heap[0]?.due ?? Infinity;
  }

  add(due: number, action: () => void): void {
    const event = { due, action, order: this.#added++ };
    let at = this.#heap.length;
    this.#heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = this.#heap[parent];
      if (above === undefined || isBefore(above, event)) break;
      this.#heap[at] = above;
      at = parent;
    }
    this.#heap[at] = event;
  }

  pop(): Event | undefined {
    const [first] = this.#heap;
    const last = this.#heap.pop();
    if (last !== undefined && this.#heap.length > 0) this.#sink(last);
    return first;
  }

  #sink(event: Event): void {
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      let below = this.#heap[child];
      if (below === undefined) break;
      const right = this.#heap[child + 1];
      if (right !== undefined && isBefore(right, below)) {
        below = right;
        child += 1;
      }
      if (isBefore(event, below)) break;
      this.#heap[at] = below;
      at = child;
    }
    this.#heap[at] = event;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.due < b.due || (a.due === b.due && a.order < b.order);
}
