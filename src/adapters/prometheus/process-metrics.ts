/** The registry of all metrics, and those that belong to no port. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** A registry of our own: the library's global one would carry counters from test to test. */
export function createMetricsRegistry(version: string): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'registry_packages_proxy_build_info',
    help: 'Always 1; its labels say what is running.',
    labelNames: ['version', 'node'],
    registers: [registry],
  }).set({ version, node: process.versions.node }, 1);
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
  return ({ route, method, status, seconds }) => {
    requests.inc({ route, method: method === 'GET' || method === 'HEAD' ? method : 'other', code: String(status) });
    duration.observe({ route }, seconds);
  };
}
