/** Compares the counters of the service with the answers that its clients got. */
import type { Got } from '../traffic/client.ts';
import type { Metrics } from './metrics.ts';

export interface Counted {
  metrics(): Promise<Metrics>;
  /** The answers of `/package` since the start of the service. */
  readonly answers: readonly Pick<Got, 'verdict' | 'status' | 'firstByteAt'>[];
  /** The number of requests to other routes and ports. Each opens a package at most twice. */
  readonly others: number;
}

/** @throws Error that names the counters that do not agree */
export async function addUp(service: Counted): Promise<void> {
  const metrics = await service.metrics();
  const { answers } = service;
  const reached = answers.filter(({ verdict }) => verdict !== 'unreachable');
  const counted = metrics.sum('http_requests_total', { route: '/package' });
  // If a client was cut off before the head, or left before its request was sent, the service may have counted it or not.
  const silent = answers.length - reached.length + reached.filter(({ status }) => status === 0).length;
  if (counted > answers.length || counted < answers.length - silent) {
    throw new Error(`${String(counted)} requests counted, ${String(answers.length)} made`);
  }
  const refusals = new Map<number, number>();
  for (const { status } of reached) if (status >= 400) refusals.set(status, (refusals.get(status) ?? 0) + 1);
  for (const [status, seen] of refusals) {
    const code = metrics.sum('http_requests_total', { route: '/package', code: String(status) });
    if (code < seen)
      throw new Error(`status ${String(status)} counted ${String(code)} times, seen ${String(seen)} times`);
  }
  const results = metrics.sum('cache_requests_total');
  const headless = metrics.sum('http_requests_total', { route: '/package', method: 'HEAD' });
  const served = reached.filter(({ status, firstByteAt }) => status < 300 && firstByteAt !== undefined).length;
  if (results < served || results > counted - headless + 2 * service.others) {
    throw new Error(`${String(results)} hits, misses, joins and bypasses of ${String(served)} packages served`);
  }
}
