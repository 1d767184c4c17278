/**
 * A discrete-event simulation of flows that share links. Between two events each flow has its max-min fair rate. Flows with
 * the same links and the same limit form one class: their progress is the same, so a class needs one counter, and 20 000
 * nodes are simulated in seconds.
 */
import { EventQueue } from './event-queue.ts';
import { maxMinRates } from './max-min.ts';

/** A flow with fewer remaining bytes is complete, because the counters have rounding errors. */
const COMPLETE_BYTES = 1e-3;

export class Link {
  readonly number: number;
  bytesPerSecond: number;
  bytes = 0;
  flows = 0;
  peakFlows = 0;

  constructor(number: number, bytesPerSecond: number) {
    this.number = number;
    this.bytesPerSecond = bytesPerSecond;
  }
}

export interface FlowClassOptions {
  readonly links: readonly Link[];
  /** The highest rate of a flow in bytes per second. */
  readonly limit?: number;
  /** The class of a running download that these flows read; they are never faster than the download. */
  readonly behind?: FlowClass;
}

export class FlowClass {
  readonly links: readonly Link[];
  readonly limit: number;
  readonly behind: FlowClass | undefined;
  readonly waiting = new EventQueue();
  /** The bytes that a flow has transferred if it has existed from the beginning. */
  progress = 0;
  rate = 0;

  constructor({ links, limit = Infinity, behind }: FlowClassOptions) {
    this.links = links;
    this.limit = limit;
    this.behind = behind;
  }
}

export class FlowNetwork {
  readonly #links: Link[] = [];
  readonly #timers = new EventQueue();
  readonly #active = new Set<FlowClass>();
  now = 0;

  link(bytesPerSecond: number): Link {
    const link = new Link(this.#links.length, bytesPerSecond);
    this.#links.push(link);
    return link;
  }

  after(seconds: number, action: () => void): void {
    this.#timers.add(this.now + seconds, action);
  }

  start(flows: FlowClass, bytes: number, done: () => void): void {
    flows.waiting.add(flows.progress + bytes, done);
    this.#active.add(flows);
    for (const link of flows.links) {
      link.flows += 1;
      link.peakFlows = Math.max(link.peakFlows, link.flows);
    }
  }

  /** Moves each flow with its remaining bytes to another class with the same links. */
  move(from: FlowClass, to: FlowClass): void {
    for (let next = from.waiting.pop(); next !== undefined; next = from.waiting.pop()) {
      to.waiting.add(to.progress + next.due - from.progress, next.action);
      this.#active.add(to);
    }
    this.#active.delete(from);
  }

  /** @throws Error if some flows never end */
  run(): void {
    while (this.#active.size > 0 || !this.#timers.isEmpty) {
      this.#setRates();
      const seconds = this.#untilNext();
      if (!Number.isFinite(seconds)) throw new Error('flows without a rate never end');
      this.#advance(seconds);
      this.#complete();
    }
  }

  #setRates(): void {
    const classes = [...this.#active];
    this.#share(classes, () => Infinity);
    // No reader is faster than its download. Downloads and readers use different links.
    const readers = classes.filter(({ behind }) => behind !== undefined);
    if (readers.length > 0) this.#share(classes, ({ behind }) => behind?.rate ?? Infinity);
  }

  #share(classes: readonly FlowClass[], limitOf: (flows: FlowClass) => number): void {
    const demands = classes.map((flows) => ({
      flows: flows.waiting.size,
      limit: Math.min(flows.limit, limitOf(flows)),
      links: flows.links.map(({ number }) => number),
    }));
    const rates = maxMinRates(
      demands,
      this.#links.map(({ bytesPerSecond }) => bytesPerSecond),
    );
    classes.forEach((flows, index) => (flows.rate = rates[index] ?? 0));
  }

  #untilNext(): number {
    let seconds = this.#timers.isEmpty ? Infinity : this.#timers.nextDue - this.now;
    for (const { waiting, progress, rate } of this.#active) {
      const bytes = waiting.nextDue - progress;
      seconds = Math.min(seconds, bytes <= COMPLETE_BYTES ? 0 : bytes / rate);
    }
    return seconds;
  }

  #advance(seconds: number): void {
    this.now += seconds;
    for (const flows of this.#active) {
      const bytes = flows.rate * seconds;
      flows.progress += bytes;
      for (const link of flows.links) link.bytes += bytes * flows.waiting.size;
    }
  }

  #complete(): void {
    while (!this.#timers.isEmpty && this.#timers.nextDue <= this.now) this.#timers.pop()?.action();
    for (const flows of [...this.#active]) {
      while (!flows.waiting.isEmpty && flows.waiting.nextDue - flows.progress <= COMPLETE_BYTES) {
        const { action } = flows.waiting.pop() ?? {};
        for (const link of flows.links) link.flows -= 1;
        action?.();
      }
      if (!flows.waiting.isEmpty) continue;
      this.#active.delete(flows);
      flows.progress = 0;
    }
  }
}
