/** Repeats a request to one URL after temporary failures, and obeys Retry-After. */
import { setTimeout as sleep } from 'node:timers/promises';
import { BoundedMap } from '../../../domain/bounded-map.ts';
import { UpstreamThrottledError, UpstreamUnavailableError } from '../../../domain/errors.ts';
import type { Registry } from '../../../domain/upstream.ts';
import { discard } from '../body.ts';
import { type Asked, codeOf, failure, UpstreamFault } from '../upstream-errors.ts';
import { Exchange, type HttpSettings, StaleConnectionError } from './exchange.ts';
import { type HttpRequest, type HttpResponse, refusal, retryAfterOf } from './http-message.ts';

export interface Patience {
  /** No attempt after a temporary failure begins later. */
  readonly retry: Deadline;
  /** A wait for a Retry-After must end before this time. */
  readonly wait: Deadline;
}

/** A temporary failure lasted longer than the time for retries. */
export class PassingError extends UpstreamUnavailableError {}

/** No process listens at the address, and the request must not be repeated. */
export class ConnectionRefusedError extends UpstreamUnavailableError {}

const BASE_BACKOFF_MS = 200;
/** A registry that works again is noticed within this time. */
const MAX_BACKOFF_MS = 1000;
/** Temporary 4xx: 425 of a proxy with early data, 499 of nginx for a client that left. Of the 5xx only 501 is final. */
const PASSING_CLIENT_ERRORS: ReadonlySet<number> = new Set([408, 425, 429, 499]);
/** Temporary errors. A time-out is not included, because the client would not wait for a second one. */
const RETRIED_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'EAI_AGAIN',
  'ENETUNREACH',
  'EHOSTUNREACH',
  // This machine has no local port or no file descriptor left.
  'EADDRNOTAVAIL',
  'EMFILE',
  'ENFILE',
]);
/** Limits the memory if a registry refuses each of many URLs for a minute. */
const MAX_WAITS = 1000;

/**
 * A time limit that begins at its first use, which is the first failure or wait, so a slow first answer does not shorten it.
 * On the monotonic clock, in milliseconds.
 */
export class Deadline {
  readonly #ms: number;
  #at: number | undefined;

  constructor(ms: number) {
    this.#ms = ms;
  }

  get at(): number {
    this.#at ??= performance.now() + this.#ms;
    return this.#at;
  }
}

export class RetryGate {
  /** The end of the wait for each host or URL, on the monotonic clock, in milliseconds. */
  readonly #closedUntil = new BoundedMap<string, number>(MAX_WAITS);

  /**
   * A 429 concerns the client, so it closes the host. Any other status closes only its URL: Varnish answers 503 with
   * Retry-After: 5 if one object fails at its backend. The longest of several waits counts.
   */
  close(url: URL, status: number, seconds: number): void {
    const now = performance.now();
    for (const [key, until] of this.#closedUntil) if (until <= now) this.#closedUntil.delete(key);
    const key = status === 429 ? url.host : url.href;
    const until = Math.max(now + seconds * 1000, this.#closedUntil.get(key) ?? 0);
    this.#closedUntil.set(key, until);
  }

  /** The time on the monotonic clock, in milliseconds, at which the URL may be requested; 0 if there is no wait. */
  opensAt({ host, href }: URL): number {
    return Math.max(this.#closedUntil.get(host) ?? 0, this.#closedUntil.get(href) ?? 0);
  }

  /** The number of remembered waits. */
  get size(): number {
    return this.#closedUntil.size;
  }
}

export class RetriedExchange {
  readonly #exchange: Exchange;
  readonly #gate = new RetryGate();

  constructor(registry: Registry, settings: HttpSettings) {
    this.#exchange = new Exchange(registry, settings);
  }

  /** Resolves with the first answer that is not to be retried. Rejects with domain errors if the time for retries ends before. */
  async run(request: HttpRequest, { retry, wait }: Patience, signal: AbortSignal): Promise<HttpResponse> {
    const { asked, url } = request;
    for (let attempt = 1; ; attempt++) {
      await this.#awaitTurn(request, wait, signal);
      const outcome = await this.#tryFresh(request, signal).catch((error: unknown) => ({ error }));
      if (!('error' in outcome) && !isPassing(outcome.status)) return outcome;
      const restMs = retry.at - performance.now();
      const backoff = Math.min(backoffMs(attempt), restMs);
      if ('error' in outcome) {
        const error = failure(asked, outcome.error, signal);
        if (request.isRefusalFinal === true && codeOf(outcome.error) === 'ECONNREFUSED') {
          throw new ConnectionRefusedError(undefined, { cause: error.cause });
        }
        if (signal.aborted || !RETRIED_CODES.has(codeOf(outcome.error))) throw error;
        if (restMs <= 0) throw passing(error);
        await pause(asked, backoff, signal);
      } else {
        const seconds = retryAfterOf(outcome.headers) ?? 0;
        if (seconds > 0) this.#gate.close(url, outcome.status, seconds);
        const isRetried = seconds > 0 ? this.#gate.opensAt(url) <= wait.at : restMs > 0;
        if (!isRetried) throw passing(await (request.refusal ?? refusal)(outcome));
        discard(outcome.body);
        if (seconds === 0) await pause(asked, backoff, signal);
      }
    }
  }

  /** Skips idle connections that the server has closed, which is not a failure of the server. */
  async #tryFresh(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    for (;;) {
      try {
        return await this.#exchange.run(request, signal);
      } catch (error) {
        if (!(error instanceof StaleConnectionError) || signal.aborted) throw error;
      }
    }
  }

  /** The error for a URL with a Retry-After that ends after `wait`; undefined if it may be requested before. */
  throttling({ asked, url }: Pick<HttpRequest, 'asked' | 'url'>, wait: Deadline): UpstreamThrottledError | undefined {
    const opensAt = this.#gate.opensAt(url);
    const ms = opensAt - performance.now();
    if (ms <= 0 || opensAt <= wait.at) return undefined;
    return new UpstreamThrottledError(Math.ceil(ms / 1000), {
      cause: new UpstreamFault(asked, 'registry asked to wait, not asked again yet'),
    });
  }

  /** Waits until the URL may be requested, also if the wait is extended meanwhile. Rejects if the wait is too long. */
  async #awaitTurn(request: HttpRequest, wait: Deadline, signal: AbortSignal): Promise<void> {
    for (;;) {
      const throttling = this.throttling(request, wait);
      if (throttling !== undefined) throw throttling;
      const ms = this.#gate.opensAt(request.url) - performance.now();
      if (ms <= 0) return;
      await pause(request.asked, ms + backoffMs(0), signal);
    }
  }
}

function passing(error: Error): Error {
  return error instanceof UpstreamUnavailableError ? new PassingError(undefined, { cause: error.cause }) : error;
}

function isPassing(status: number): boolean {
  return PASSING_CLIENT_ERRORS.has(status) || (status >= 500 && status < 600 && status !== 501);
}

async function pause(asked: Asked, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    throw failure(asked, error, signal);
  }
}

/** Full jitter, so that requests that failed together do not come back together. */
function backoffMs(attempt: number): number {
  return Math.random() * Math.min(MAX_BACKOFF_MS, BASE_BACKOFF_MS * 2 ** attempt);
}
