/** Outcomes of requests for packages since the start, with their last reasons, for the status page and /explain. */
import type { CacheOutcome } from '../../../application/get-package.ts';
import type { FailedRequests, RequestInspection } from '../../../application/inspection.ts';
import { problemOf } from '../server/problem.ts';
import type { FinishedRequest } from '../server/request-record.ts';
import { ClientGoneError } from '../server/send-blob.ts';

/** Reasons at a time, each with its requests: a hundred nodes that fail alike are one. */
const MAX_FAILURES = 128;

export class RequestHistory implements RequestInspection {
  readonly outcomes: Record<CacheOutcome['kind'], number> = { hit: 0, miss: 0, joined: 0, bypass: 0 };
  /** In the order of their last times. */
  readonly #failures = new Map<string, FailedRequests>();

  failures(): FailedRequests[] {
    return [...this.#failures.values()].reverse();
  }

  readonly observe = (request: FinishedRequest): void => {
    if (request.route !== '/package') return;
    if (request.cache !== undefined && request.method === 'GET') this.outcomes[request.cache.kind]++;
    if (request.error !== undefined && !(request.error instanceof ClientGoneError)) this.#fail(request);
  };

  #fail({ package: asked, error }: FinishedRequest): void {
    const { status, code, detail } = problemOf(error);
    const key = `${code} ${asked?.digest ?? detail} ${asked?.repository ?? ''} ${asked?.path ?? ''}`;
    const before = this.#failures.get(key);
    const lastAt = new Date();
    this.#failures.delete(key);
    this.#failures.set(key, {
      request: asked,
      status,
      code,
      detail,
      cause: error instanceof Error && error.cause instanceof Error ? error.cause.message : undefined,
      count: (before?.count ?? 0) + 1,
      firstAt: before?.firstAt ?? lastAt,
      lastAt,
    });
    const [oldest] = this.#failures.keys();
    if (oldest !== undefined && this.#failures.size > MAX_FAILURES) this.#failures.delete(oldest);
  }
}
