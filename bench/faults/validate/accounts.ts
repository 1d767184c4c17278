/** Compares the counters of the service with what its clients have seen. */
import type { Got } from '../traffic/client.ts';
import type { Metrics } from './metrics.ts';

export interface Counted {
  metrics(): Promise<Metrics>;
  /** The answers that clients of `/package` have had since the start of the service. */
  readonly answers: readonly Pick<Got, 'verdict' | 'status' | 'firstByteAt'>[];
  /** The requests of its other routes and ports, each of which opens a package twice at most. */
  readonly others: number;
}

/** @throws Error with what does not add up */
export async function addUp(service: Counted): Promise<void> {
  const metrics = await service.metrics();
  const { answers } = service;
  const reached = answers.filter(({ verdict }) => verdict !== 'unreachable');
  const counted = metrics.sum('http_requests_total', { route: '/package' });
  // The service may or may not have seen a client that was cut off before the head, or left before its request was sent.
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
