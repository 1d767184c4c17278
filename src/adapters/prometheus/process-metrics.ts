/** The registry of all metrics, and those that belong to no port. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { CACHE_RESULTS, type CacheResult } from './cache-results.ts';

/** A registry of our own: the library's global one would carry counters from test to test. */
export function createMetricsRegistry(version: string): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'registry_packages_proxy_build_info',
    help: 'Always 1; its labels say what is running.',
    // Not "node", which is where Prometheus says on which node of the cluster it has found us.
    labelNames: ['version', 'nodejs'],
    registers: [registry],
  }).set({ version, nodejs: process.versions.node }, 1);
  return registry;
}

export function digestMismatches(registry: Registry): Counter {
  return new Counter({
    name: 'registry_packages_proxy_digest_mismatch_total',
    help: 'Manifests and blobs whose bytes were not what their digest says; none of them was delivered or kept.',
    registers: [registry],
  });
}

/** Counts and times finished requests. Labels come from closed sets: never a digest, a path or a repository. */
export function requestMetrics(
  registry: Registry,
): (request: {
  readonly route: string;
  readonly method: string;
  readonly status: number;
  readonly seconds: number;
  readonly cache: { readonly kind: CacheResult } | undefined;
  readonly bytes: number;
}) => void {
  const requests = new Counter({
    name: 'registry_packages_proxy_http_requests_total',
    help: 'Finished requests; code 499 stands for clients that left before the end.',
    labelNames: ['route', 'method', 'code'],
    registers: [registry],
  });
  const duration = new Histogram({
    name: 'registry_packages_proxy_http_request_duration_seconds',
    help: 'Time from the request to the last byte of its answer.',
    labelNames: ['route'],
    buckets: [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300],
    registers: [registry],
  });
  const bytesServed = new Counter({
    name: 'registry_packages_proxy_served_bytes_total',
    help: 'Bytes of packages that clients took, by how the cache took part; counted when a request is over.',
    labelNames: ['result'],
    registers: [registry],
  });
  // There from the start, so that the first one is seen as an increase.
  for (const code of ['200', '500', '502', '503', '504']) requests.inc({ route: '/package', method: 'GET', code }, 0);
  duration.zero({ route: '/package' });
  for (const result of CACHE_RESULTS) bytesServed.inc({ result }, 0);
  return ({ route, method, status, seconds, cache, bytes }) => {
    requests.inc({ route, method: method === 'GET' || method === 'HEAD' ? method : 'other', code: String(status) });
    duration.observe({ route }, seconds);
    if (cache !== undefined) bytesServed.inc({ result: cache.kind }, bytes);
  };
}
