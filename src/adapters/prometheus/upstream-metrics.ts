/** Times and counts the questions to upstreams. */
import { Counter, Histogram, type Registry } from 'prom-client';
import { PackageError } from '../../domain/errors.ts';
import type { Operation } from '../../domain/ports/registry-gateway.ts';
import type { UpstreamObserver } from '../observers/observed-registry-gateway.ts';

const OPERATIONS: readonly Operation[] = ['manifest', 'blob'];
/** The codes of the alerts exist from the start, so that the first failure is an increase. */
const CODES = ['ok', 'upstream_denied', 'upstream_unavailable', 'upstream_timeout', 'toomanyrequests'];

export function upstreamMetrics(registry: Registry): UpstreamObserver {
  const requests = new Counter({
    name: 'registry_packages_proxy_upstream_requests_total',
    help: 'Manifests and blobs asked of an upstream, by outcome: "ok" when it began to answer, else an error code.',
    labelNames: ['operation', 'code'],
    registers: [registry],
  });
  const duration = new Histogram({
    name: 'registry_packages_proxy_upstream_duration_seconds',
    help: 'Time until a manifest was there or a blob began to arrive, retries and authorization included.',
    labelNames: ['operation'],
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30],
    registers: [registry],
  });
  const received = new Counter({
    name: 'registry_packages_proxy_upstream_bytes_total',
    help: 'Bytes of blobs received from upstreams.',
    registers: [registry],
  });
  const resumed = new Counter({
    name: 'registry_packages_proxy_upstream_resumed_total',
    help: 'Downloads that went on where they had broken off.',
    registers: [registry],
  });
  for (const operation of OPERATIONS) {
    for (const code of CODES) requests.inc({ operation, code }, 0);
    duration.zero({ operation });
  }
  return (event) => {
    const { operation, offset } = event.question;
    if (event.kind === 'received') received.inc(event.bytes);
    if (event.kind !== 'answered') return;
    requests.inc({ operation, code: codeOf(event.error) });
    duration.observe({ operation }, event.seconds);
    if (offset > 0 && event.error === undefined) resumed.inc();
  };
}

function codeOf(error: unknown): string {
  if (error === undefined) return 'ok';
  return error instanceof PackageError ? error.code.toLowerCase() : 'internal';
}
