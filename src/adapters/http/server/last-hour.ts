/** Requests of the last hour, by minutes, in memory that does not grow with them. */
import type { RequestMinute } from '../../../domain/ports/request-inspection.ts';

const MINUTE_MS = 60_000;
const MINUTES = 60;

type Counts = Record<Exclude<keyof RequestMinute, 'at'>, number>;

interface Slot extends Counts {
  /** Since the epoch: an older minute in the slot of this one is over. */
  minute: number;
}

export class LastHour {
  readonly #slots = Array.from({ length: MINUTES }, () => emptySlot(-1));
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** The counts of this minute, to be raised. */
  current(): Counts {
    const minute = Math.floor(this.#now() / MINUTE_MS);
    const slot = this.#slots[minute % MINUTES];
    if (slot?.minute === minute) return slot;
    return (this.#slots[minute % MINUTES] = emptySlot(minute));
  }

  list(): RequestMinute[] {
    const last = Math.floor(this.#now() / MINUTE_MS);
    return Array.from({ length: MINUTES }, (_, index) => {
      const minute = last - MINUTES + 1 + index;
      const slot = this.#slots[minute % MINUTES];
      const { hits, misses, failures, bytes } = slot?.minute === minute ? slot : emptySlot(minute);
      return { at: new Date(minute * MINUTE_MS), hits, misses, failures, bytes };
    });
  }
}

function emptySlot(minute: number): Slot {
  return { minute, hits: 0, misses: 0, failures: 0, bytes: 0 };
}
