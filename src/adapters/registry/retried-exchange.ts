/** Requests to one URL until it answers: passing failures are met by patience, and a wait that a host asks for is kept. */
import { setTimeout as sleep } from 'node:timers/promises';
import { UpstreamThrottledError } from '../../domain/errors.ts';
import type { Registry } from '../../domain/upstream.ts';
import { discard } from './body.ts';
import { Exchange, type ExchangeSettings, StaleConnectionError } from './exchange.ts';
import type { HttpRequest, HttpResponse } from './http-message.ts';
import { refusal } from './refusal.ts';
import { retryAfterOf } from './retry-after.ts';
import { RetryGate } from './retry-gate.ts';
import { type Asked, codeOf, failure, UpstreamFault } from './upstream-errors.ts';

export interface RetrySettings extends ExchangeSettings {
  /** Of one request, until its headers are there. */
  readonly attempts: number;
}

/** A client waits 10 s for its first byte; a longer wait is handed on to the client. */
const MAX_WAIT_SECONDS = 3;
const BASE_BACKOFF_MS = 200;
const RETRIED_STATUSES: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);
/** Passing by nature. A time-out is not among them: another one would outlast the client. */
const RETRIED_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'EAI_AGAIN',
  'ENETUNREACH',
  'EHOSTUNREACH',
]);

export class RetriedExchange {
  readonly #settings: RetrySettings;
  readonly #exchange: Exchange;
  readonly #gate = new RetryGate();

  constructor(registry: Registry, settings: RetrySettings) {
    this.#settings = settings;
    this.#exchange = new Exchange(registry, settings);
  }

  /** The first answer that is not worth another try. Rejects with domain errors when there is none. */
  async run(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    for (let attempt = 1; ; attempt++) {
      await this.#awaitTurn(request, signal);
      const outcome = await this.#tryFresh(request, signal).catch((error: unknown) => ({ error }));
      const last = attempt >= this.#settings.attempts;
      if ('error' in outcome) {
        const retried = !last && !signal.aborted && RETRIED_CODES.has(codeOf(outcome.error));
        if (!retried) throw failure(request.asked, outcome.error, signal);
        await pause(request.asked, backoffMs(attempt), signal);
      } else if (RETRIED_STATUSES.has(outcome.status)) {
        const retryAfter = retryAfterOf(outcome.headers);
        if (retryAfter !== undefined) this.#gate.close(request.url, retryAfter);
        if (last || (retryAfter ?? 0) > MAX_WAIT_SECONDS) throw await refusal(outcome);
        discard(outcome.body);
        if (retryAfter === undefined) await pause(request.asked, backoffMs(attempt), signal);
      } else {
        return outcome;
      }
    }
  }

  /** Goes through the connections that their server has ended in the meantime: that is no failure of the server. */
  async #tryFresh(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    for (;;) {
      try {
        return await this.#exchange.run(request, signal);
      } catch (error) {
        if (!(error instanceof StaleConnectionError) || signal.aborted) throw error;
      }
    }
  }

  /** A gate that is closed again meanwhile is waited for again. Rejects when the wait is too long. */
  async #awaitTurn({ asked, url }: HttpRequest, signal: AbortSignal): Promise<void> {
    const began = performance.now();
    for (;;) {
      const until = this.#gate.openAt(url);
      const ms = until - performance.now();
      if (ms <= 0) return;
      if (until - began > MAX_WAIT_SECONDS * 1000) {
        const cause = new UpstreamFault(asked, 'asked for patience before');
        throw new UpstreamThrottledError(Math.ceil(ms / 1000), { cause });
      }
      await pause(asked, ms + backoffMs(0), signal);
    }
  }
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
  return Math.random() * BASE_BACKOFF_MS * 2 ** attempt;
}
