/** One request for all callers that ask while it lasts: no caller can end it for the others, and without any it ends. */

interface Running<Outcome> {
  readonly outcome: Promise<Outcome>;
  readonly abandon: AbortController;
  waiting: number;
}

export class SharedRequest<Outcome> {
  readonly #running = new Map<string, Running<Outcome>>();

  /** The outcome of the running request, or of a new one. Rejects with the reason of `signal` as soon as it is aborted. */
  async join(key: string, begin: (signal: AbortSignal) => Promise<Outcome>, signal: AbortSignal): Promise<Outcome> {
    signal.throwIfAborted();
    const request = this.#running.get(key) ?? this.#begin(key, begin);
    request.waiting += 1;
    try {
      return await unlessAborted(request.outcome, signal);
    } finally {
      request.waiting -= 1;
      if (request.waiting === 0) this.#end(key, request);
    }
  }

  #begin(key: string, begin: (signal: AbortSignal) => Promise<Outcome>): Running<Outcome> {
    const abandon = new AbortController();
    const request = { outcome: begin(abandon.signal), abandon, waiting: 0 };
    this.#running.set(key, request);
    return request;
  }

  /** Forgotten at once: the next caller must not join a request that is being aborted. An ended request does not change. */
  #end(key: string, request: Running<Outcome>): void {
    if (this.#running.get(key) === request) this.#running.delete(key);
    request.abandon.abort();
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
