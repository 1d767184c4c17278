/** Metrics on the way of a package: the result of the cache, cached blobs, arrivals, downloads, and requests to upstreams. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { SlotUsage } from '../../application/download-slots.ts';
import { DigestMismatchError, PackageError } from '../../domain/errors.ts';
import { STORE_FAILURES, type StoreUsage } from '../../domain/ports/package-store.ts';
import type { Operation } from '../../domain/ports/registry-gateway.ts';
import type { ArrivalObserver, AskedPlace, PackageObserver, UpstreamObserver } from '../observers/observed-ports.ts';
import { CACHE_RESULTS, exposeCounters, exposeGauges } from './service-metrics.ts';

export function storeMetrics(registry: Registry, usage: () => StoreUsage, mismatches: Counter): ArrivalObserver {
  const inFlight = new Gauge({
    name: 'registry_packages_proxy_downloads_in_flight',
    help: 'Blobs that are being downloaded into the cache.',
    registers: [registry],
  });
  exposeUsage(usage, registry);
  return (event) => {
    if (event.kind === 'begun') inFlight.inc();
    else inFlight.dec();
    if (event.kind === 'ended' && event.error instanceof DigestMismatchError) mismatches.inc();
  };
}

function exposeUsage(usage: () => StoreUsage, registry: Registry): void {
  exposeGauges(registry, [
    // Dashboards of the existing implementation use this name.
    ['cache_size', 'Size of the cache in bytes.', () => usage().bytes],
    [
      'cache_size_bytes',
      'Bytes that the cache takes from its volume, downloads in flight included.',
      () => usage().bytes,
    ],
    ['cache_max_bytes', 'Maximum size of the cache in bytes.', () => usage().maxBytes],
    [
      'cache_limit_bytes',
      'Bytes that the cache takes at most now: less than cache_max_bytes when its volume or quota has no room for them.',
      () => usage().limitBytes,
    ],
    ['cache_entries', 'Blobs in the cache, manifests and layers.', () => usage().entries],
  ]);
  new Counter({
    name: 'registry_packages_proxy_cache_evictions_total',
    help: 'Blobs that left the cache: to make room (size), or because they were missing, unreadable or wrong (damaged).',
    labelNames: ['reason'],
    registers: [registry],
    collect() {
      const { evicted, damaged } = usage();
      this.reset();
      this.inc({ reason: 'size' }, evicted);
      this.inc({ reason: 'damaged' }, damaged);
    },
  });
  new Counter({
    name: 'registry_packages_proxy_cache_store_failures_total',
    help: 'Blobs that could not be stored, by reason: the code of the disk, no free inodes, or readers that hold the room (pinned).',
    labelNames: ['reason'],
    registers: [registry],
    collect() {
      const { failures } = usage();
      this.reset();
      for (const reason of STORE_FAILURES) this.inc({ reason }, failures[reason] ?? 0);
    },
  });
  const scrubbed = 'Bytes of the cache that were read and verified again in the background.';
  exposeCounters(registry, [['cache_scrubbed_bytes_total', scrubbed, () => usage().scrubbedBytes]]);
}

export function downloadMetrics(usage: () => SlotUsage, registry: Registry): void {
  new Gauge({
    name: 'registry_packages_proxy_parallel_downloads',
    help: 'Downloads of packages: running, of these idle (no client waits for bytes), and queued for a free slot.',
    labelNames: ['state'],
    registers: [registry],
    collect() {
      const { running, idle, queued } = usage();
      for (const [state, value] of Object.entries({ running, idle, queued })) this.set({ state }, value);
    },
  });
  exposeGauges(registry, [
    ['parallel_downloads_max', 'Downloads of packages that may run at a time.', () => usage().max],
  ]);
  const revoked = 'Downloads that ended because no client waited for them while others waited for a slot.';
  exposeCounters(registry, [['parallel_downloads_revoked_total', revoked, () => usage().revoked]]);
}

/** `mismatches` counts wrong manifests, and wrong bodies that bypass the store; the store reports other wrong layers. */
export function packageMetrics(registry: Registry, mismatches: Counter): PackageObserver {
  const results = new Counter({
    name: 'registry_packages_proxy_cache_requests_total',
    help: 'Packages by result of the cache: hit, miss (download begun), joined (download in progress), bypass (not cached).',
    labelNames: ['result'],
    registers: [registry],
  });
  for (const result of CACHE_RESULTS) results.inc({ result }, 0);
  return (event) => {
    if (event.kind === 'delivered') results.inc({ result: event.cache.kind });
    else if (event.error instanceof DigestMismatchError) mismatches.inc();
  };
}

const OPERATIONS: readonly Operation[] = ['manifest', 'blob'];
/** The codes of the alerts exist from the start, so that the first failure is visible as an increase. */
const CODES = ['ok', 'upstream_denied', 'upstream_unavailable', 'upstream_timeout', 'toomanyrequests'];

/** `places` are those that can be asked. */
export function upstreamMetrics(registry: Registry, places: readonly AskedPlace[]): UpstreamObserver {
  const requests = new Counter({
    name: 'registry_packages_proxy_upstream_requests_total',
    help: 'Manifests and blobs requested from an upstream, by outcome: "ok" when it began to answer, otherwise an error code.',
    labelNames: ['source', 'operation', 'code'],
    registers: [registry],
  });
  const duration = new Histogram({
    name: 'registry_packages_proxy_upstream_duration_seconds',
    help: 'Time until a manifest was complete or a blob began to arrive, retries and authorization included.',
    labelNames: ['operation'],
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30],
    registers: [registry],
  });
  const received = new Counter({
    name: 'registry_packages_proxy_upstream_bytes_total',
    help: 'Bytes of blobs received from upstreams.',
    labelNames: ['source'],
    registers: [registry],
  });
  const resumed = new Counter({
    name: 'registry_packages_proxy_upstream_resumed_total',
    help: 'Downloads that were resumed after an interruption.',
    registers: [registry],
  });
  for (const operation of OPERATIONS) duration.zero({ operation });
  for (const source of places) {
    received.inc({ source }, 0);
    for (const operation of OPERATIONS) for (const code of CODES) requests.inc({ source, operation, code }, 0);
  }
  return (event) => {
    const { place: source, operation, offset } = event.question;
    if (event.kind === 'received') received.inc({ source }, event.bytes);
    if (event.kind !== 'answered') return;
    requests.inc({
      source,
      operation,
      code: event.isAbandoned ? codeOf(event.error, 'abandoned') : codeOf(event.error),
    });
    duration.observe({ operation }, event.seconds);
    if (offset > 0 && event.error === undefined) resumed.inc();
  };
}

/** Returns `unknown` for an error outside the domain. */
function codeOf(error: unknown, unknown = 'internal'): string {
  if (error === undefined) return 'ok';
  return error instanceof PackageError ? error.code.toLowerCase() : unknown;
}
