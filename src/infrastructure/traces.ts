/** The trace of the running code: it follows a request into the work that it begins, without a parameter (ADR 17). */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { RequestTrace } from '../adapters/http/server/trace-context.ts';

/** One for the process, as asynchronous contexts are. A download keeps the trace of the request that began it. */
export const traces = new AsyncLocalStorage<RequestTrace>();

/** For a request to a registry; none for what no request has begun. */
export function currentTraceHeaders(): Readonly<Record<string, string>> {
  return traces.getStore()?.headers() ?? {};
}
