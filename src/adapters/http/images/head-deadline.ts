/** The time until the head of an answer: whatever is asked on the way to it, the client waits no longer. */
import { UpstreamTimeoutError } from '../../../domain/errors.ts';

export class HeadDeadline {
  readonly #late = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(timeoutMs: number) {
    this.#timer = setTimeout(() => {
      this.#late.abort(new UpstreamTimeoutError());
    }, timeoutMs);
  }

  /** Aborted with a time-out of the domain. */
  get signal(): AbortSignal {
    return this.#late.signal;
  }

  /** Rejects when the time is over, also where the work hears of no signal; `discard` gets an outcome that comes later. */
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

  /** The head can be sent. */
  end(): void {
    clearTimeout(this.#timer);
  }
}
