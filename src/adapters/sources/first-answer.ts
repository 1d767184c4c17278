/** Asks places in their order: the next one as well when one is late, and at once when one fails; the first answer wins. */

interface RaceOptions<Place, Answer> {
  readonly places: readonly Place[];
  readonly ask: (place: Place, signal: AbortSignal) => Promise<Answer>;
  /** For so many milliseconds the places that were asked before may be silent until this one is asked as well. */
  readonly patienceMs: (place: Place) => number;
  /** Whether a place may be asked beside others that have not answered yet. */
  readonly mayHedge: (place: Place) => boolean;
  /** Hears of a failure. Returns whether the places that are left may be asked. */
  readonly onFailure: (place: Place, error: unknown) => boolean;
  /** Hears of a place that was asked before the winner and has not answered. */
  readonly onLate: (place: Place) => void;
}

export interface Won<Place, Answer> {
  readonly place: Place;
  readonly answer: Answer;
  /** Ends what the answer is still bringing. */
  readonly end: (reason: Error) => void;
}

/** The reason with which a question ends that another place has answered first. */
export class AnsweredElsewhere extends Error {
  override readonly name = 'AnsweredElsewhere';
  constructor() {
    super('another source has answered first');
  }
}

/** All places have failed: with what, in the order of the failures. */
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
    // A place that answers after the race was ended by its signal, or by another answer.
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
