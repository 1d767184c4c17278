/** Runs work once for each key: concurrent callers share the result, and without callers the work is aborted. */

interface Flight<Outcome> {
  readonly outcome: Promise<Outcome>;
  readonly abandoned: AbortController;
  callers: number;
}

export class SingleFlight<Key, Outcome> {
  readonly #flights = new Map<Key, Flight<Outcome>>();

  /**
   * Resolves with the result of the running work of this key, or of new work. Rejects with the reason of `signal` when it is
   * aborted; the signal of the work is aborted when its last caller has left.
   */
  async run(key: Key, work: (signal: AbortSignal) => Promise<Outcome>, signal?: AbortSignal): Promise<Outcome> {
    signal?.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#begin(key, work);
    flight.callers++;
    if (signal === undefined) return flight.outcome;
    try {
      return await unlessAborted(flight.outcome, signal);
    } catch (error) {
      if (signal.aborted && --flight.callers === 0) {
        // Removed at once, so that no later caller joins work that is being aborted.
        this.#end(key, flight);
        flight.abandoned.abort();
      }
      throw error;
    }
  }

  #begin(key: Key, work: (signal: AbortSignal) => Promise<Outcome>): Flight<Outcome> {
    const abandoned = new AbortController();
    const outcome = work(abandoned.signal).finally(() => {
      this.#end(key, flight);
    });
    const flight: Flight<Outcome> = { outcome, abandoned, callers: 0 };
    this.#flights.set(key, flight);
    return flight;
  }

  #end(key: Key, flight: Flight<Outcome>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }
}

function unlessAborted<Outcome>(outcome: Promise<Outcome>, signal: AbortSignal): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', leave);
    void outcome.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', leave);
    });
  });
}
