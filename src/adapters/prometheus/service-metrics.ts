/** The registry of all metrics, and the metrics of the process: requests, bodies in progress, certificates. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { CacheOutcome } from '../../application/get-package.ts';
import { readFileSync } from 'node:fs';
import { X509Certificate } from 'node:crypto';

/** Creates a separate registry, because counters of the library's global one would survive from test to test. */
export function createMetricsRegistry(version: string): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'registry_packages_proxy_build_info',
    help: 'Always 1; the labels have the versions of the service and of Node.',
    // The label is not "node", because Prometheus uses that for the node of the cluster.
    labelNames: ['version', 'nodejs'],
    registers: [registry],
  }).set({ version, nodejs: process.versions.node }, 1);
  return registry;
}

export function digestMismatches(registry: Registry): Counter {
  return new Counter({
    name: 'registry_packages_proxy_digest_mismatch_total',
    help: 'Manifests and blobs whose bytes did not match their digest; none was delivered whole or cached.',
    registers: [registry],
  });
}

/** Counts and times finished requests. The labels have closed sets of values: no digests, paths or repositories. */
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
    help: 'Finished requests; code 499 means that the client closed the connection before the end.',
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
    help: 'Bytes of packages that clients received, by result of the cache; counted when a request ends.',
    labelNames: ['result'],
    registers: [registry],
  });
  // The counters exist from the start, so that the first event is visible as an increase.
  for (const code of ['200', '500', '502', '503', '504']) requests.inc({ route: '/package', method: 'GET', code }, 0);
  duration.zero({ route: '/package' });
  for (const result of CACHE_RESULTS) bytesServed.inc({ result }, 0);
  return ({ route, method, status, seconds, cache, bytes }) => {
    requests.inc({ route, method: method === 'GET' || method === 'HEAD' ? method : 'other', code: String(status) });
    duration.observe({ route }, seconds);
    if (cache !== undefined) bytesServed.inc({ result: cache.kind }, bytes);
  };
}

type CacheResult = CacheOutcome['kind'];

export const CACHE_RESULTS: readonly CacheResult[] = ['hit', 'miss', 'joined', 'bypass'];

/** A metric whose value is read for each scrape. The name is without the prefix of this service. */
type ReadMetric<Value> = readonly [name: string, help: string, value: () => Value];

export function exposeGauges(registry: Registry, gauges: readonly ReadMetric<number | Promise<number>>[]): void {
  for (const [name, help, value] of gauges) {
    new Gauge({
      name: `registry_packages_proxy_${name}`,
      help,
      registers: [registry],
      async collect() {
        this.set(await value());
      },
    });
  }
}

export function exposeCounters(registry: Registry, counters: readonly ReadMetric<number>[]): void {
  for (const [name, help, value] of counters) {
    new Counter({
      name: `registry_packages_proxy_${name}`,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(value());
      },
    });
  }
}

interface Sending {
  readonly sending: number;
  readonly waiting: number;
  readonly refused: number;
  readonly displaced: number;
}

/** All sockets of the network namespace of this process; in the chart, those of the whole host. */
const SOCKSTAT = '/proc/self/net/sockstat';
const PAGE_BYTES = 4096;

/** `acceptDelay` resolves with seconds, and is called for each scrape. */
export function sendingMetrics(registry: Registry, usage: () => Sending, acceptDelay: () => Promise<number>): void {
  exposeGauges(registry, [
    ['sending', 'Packages that are being sent, without small ones.', () => usage().sending],
    ['sending_waiting', 'Packages that wait because too many are being sent.', () => usage().waiting],
    ['tcp_memory_bytes', 'Memory of all TCP sockets of the network that the service is in.', readTcpMemory],
    ['accept_delay_seconds', 'Time that a new connection has just waited until the service accepted it.', acceptDelay],
  ]);
  exposeCounters(registry, [
    [
      'sending_refused_total',
      'Packages that were refused with 503, because too many were being sent.',
      () => usage().refused,
    ],
    [
      'sending_displaced_total',
      'Readers that accepted no bytes and were disconnected in favour of others.',
      () => usage().displaced,
    ],
  ]);
}

/** Returns 0 if the system has no such file. The read is synchronous, like that of the certificates. */
function readTcpMemory(): number {
  try {
    return Number(/^TCP: .*\bmem (\d+)/m.exec(readFileSync(SOCKSTAT, 'utf8'))?.[1] ?? 0) * PAGE_BYTES;
  } catch {
    return 0;
  }
}

/** Prometheus may not scrape a pod that is not ready, so the alert for this state is the one for pods that are not ready. */
export function bootstrapMetrics(registry: Registry, isOpen: () => boolean): void {
  const help = '1 while the bootstrap port is open, 0 while it cannot be opened.';
  exposeGauges(registry, [['bootstrap_open', help, () => Number(isOpen())]]);
}

/** The `reasons` exist from the start, so that the first refusal is visible as an increase. */
export function refusalMetrics(registry: Registry, reasons: readonly string[]): (reason: string) => void {
  const refused = new Counter({
    name: 'registry_packages_proxy_loopback_refused_total',
    help: 'Connections and requests that the hardened loopback port refused, by reason.',
    labelNames: ['reason'],
    registers: [registry],
  });
  for (const reason of reasons) refused.inc({ reason }, 0);
  return (reason) => {
    refused.inc({ reason });
  };
}

interface NamedCertificate {
  readonly role: string;
  /** A PEM file: a certificate with those of its issuers, or a list of CAs. */
  readonly certificate: string;
}

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The files are read for each scrape, because they change while the service runs. */
export function certificateMetrics(registry: Registry, certificates: readonly NamedCertificate[]): void {
  new Gauge({
    name: 'registry_packages_proxy_certificate_end_timestamp_seconds',
    help: 'Time at which a certificate expires, in Unix time.',
    labelNames: ['role'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { role, certificate } of certificates) {
        const end = endOf(certificate);
        if (end !== undefined) this.set({ role }, end);
      }
    },
  });
}

/** Returns undefined if the file does not exist or has no certificate. */
function endOf(path: string): number | undefined {
  const certificates = (textOf(path).match(PEM) ?? []).flatMap(parse);
  const ends = certificates.map(({ validToDate }) => validToDate.getTime() / 1000);
  const [first] = certificates;
  if (first === undefined) return undefined;
  // A chain ends with its first certificate that expires; a list of CAs is usable as long as one of them is.
  return first.ca ? Math.max(...ends) : Math.min(...ends);
}

/** Reads synchronously, because a hanging disk of the cache blocks all threads that read files. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function parse(pem: string): X509Certificate[] {
  try {
    return [new X509Certificate(pem)];
  } catch {
    return [];
  }
}
