/** Asks places in order, the next one also when one is late, and at once when one fails; the first answer wins. */

interface RaceOptions<Place, Answer> {
  readonly places: readonly Place[];
  readonly ask: (place: Place, signal: AbortSignal) => Promise<Answer>;
  /** The milliseconds of silence of the earlier places after which this place is asked, too. */
  readonly patienceMs: (place: Place) => number;
  /** Returns whether a place may be asked while others have not answered yet. */
  readonly mayHedge: (place: Place) => boolean;
  /** Called with each failure. Returns whether the remaining places may be asked. */
  readonly onFailure: (place: Place, error: unknown) => boolean;
  /** Called with each place that was asked before the winner and has not answered. */
  readonly onLate: (place: Place) => void;
}

export interface Won<Place, Answer> {
  readonly place: Place;
  readonly answer: Answer;
  /** Ends the rest of the answer. */
  readonly end: (reason: Error) => void;
}

/** The reason that ends a request after another place has answered first. */
class AnsweredElsewhere extends Error {
  override readonly name = 'AnsweredElsewhere';
  constructor() {
    super('another source has answered first');
  }
}

/** All places have failed; the errors are in the order of the failures. */
export class AllFailed<Place> extends Error {
  readonly failures: ReadonlyMap<Place, unknown>;
  constructor(failures: ReadonlyMap<Place, unknown>) {
    super('no source has answered');
    this.failures = failures;
  }
}

/** Rejects with AllFailed, or with the reason of `signal`. */
export async function firstAnswer<Place, Answer>(
  { places, ask, patienceMs, mayHedge, onFailure, onLate }: RaceOptions<Place, Answer>,
  signal: AbortSignal,
): Promise<Won<Place, Answer>> {
  signal.throwIfAborted();
  const outcome = Promise.withResolvers<Won<Place, Answer>>();
  const running = new Map<Place, AbortController>();
  const failures = new Map<Place, unknown>();
  let waiting = [...places];
  let latest: Place | undefined;
  let timer: NodeJS.Timeout | undefined;

  const hedge = (): void => {
    clearTimeout(timer);
    const [next] = waiting;
    if (next === undefined) return;
    timer = setTimeout(() => {
      if (mayHedge(next)) begin();
      else hedge();
    }, patienceMs(next));
  };
  const begin = (): void => {
    const place = waiting.shift();
    if (place === undefined) return;
    latest = place;
    const controller = new AbortController();
    running.set(place, controller);
    ask(place, AbortSignal.any([signal, controller.signal])).then(
      (answer) => {
        win(place, answer, controller);
      },
      (error: unknown) => {
        fail(place, error);
      },
    );
    hedge();
  };
  const win = (place: Place, answer: Answer, controller: AbortController): void => {
    // The place answers after the race has ended by its signal, or by another answer.
    if (!running.delete(place)) return;
    outcome.resolve({
      place,
      answer,
      end: (reason) => {
        controller.abort(reason);
      },
    });
    const order = places.indexOf(place);
    for (const other of running.keys()) if (places.indexOf(other) < order) onLate(other);
    end(new AnsweredElsewhere());
  };
  const fail = (place: Place, error: unknown): void => {
    if (!running.delete(place)) return;
    if (signal.aborted) {
      outcome.reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
      end(signal.reason);
      return;
    }
    failures.set(place, error);
    if (!onFailure(place, error)) waiting = [];
    const [next] = waiting;
    if (next !== undefined && (running.size === 0 || (place === latest && mayHedge(next)))) begin();
    else if (running.size === 0) outcome.reject(new AllFailed(failures));
  };
  const end = (reason: unknown): void => {
    clearTimeout(timer);
    waiting = [];
    const losers = [...running.values()];
    running.clear();
    for (const loser of losers) loser.abort(reason);
  };
  if (waiting.length === 0) throw new AllFailed(failures);
  begin();
  return outcome.promise;
}
