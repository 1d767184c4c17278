/** The time limit for the head of a response, which covers all requests to the registry that precede it. */
import { UpstreamTimeoutError } from '../../../domain/errors.ts';

export class HeadDeadline {
  readonly #late = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(timeoutMs: number) {
    this.#timer = setTimeout(() => {
      this.#late.abort(new UpstreamTimeoutError());
    }, timeoutMs);
  }

  /** The signal is aborted with a time-out of the domain. */
  get signal(): AbortSignal {
    return this.#late.signal;
  }

  /** Rejects when the time is over, even if the work ignores the signal; `discard` gets a later outcome. */
  async meet<Outcome>(
    work: Promise<Outcome>,
    discard: (outcome: Outcome) => unknown = () => undefined,
  ): Promise<Outcome> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const miss = (): void => {
      reject(this.signal.reason as Error);
      work.then(discard).catch(() => undefined);
    };
    if (this.signal.aborted) miss();
    this.signal.addEventListener('abort', miss);
    try {
      return await Promise.race([late, work]);
    } finally {
      this.signal.removeEventListener('abort', miss);
    }
  }

  /** Stops the timer, because the head can be sent. */
  end(): void {
    clearTimeout(this.#timer);
  }
}
