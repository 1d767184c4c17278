/** Counts packages by the result of the cache, cached blobs, arrivals, failures, and running and waiting downloads. */
import { Counter, Gauge, type Registry } from 'prom-client';
import { STORE_FAILURES, type StoreUsage } from '../../domain/ports/package-store.ts';
import { DigestMismatchError } from '../../domain/errors.ts';
import type { ArrivalObserver, PackageObserver } from '../observers/observed-ports.ts';
import { CACHE_RESULTS } from './service-metrics.ts';
import type { SlotUsage } from '../../application/download-slots.ts';

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
  const gauges: [name: string, help: string, value: (usage: StoreUsage) => number][] = [
    // Dashboards of the existing implementation use this name.
    ['cache_size', 'Size of the cache in bytes.', ({ bytes }) => bytes],
    [
      'cache_size_bytes',
      'Bytes that the cache takes from its volume, downloads in flight included.',
      ({ bytes }) => bytes,
    ],
    ['cache_max_bytes', 'Maximum size of the cache in bytes.', ({ maxBytes }) => maxBytes],
    [
      'cache_limit_bytes',
      'Bytes that the cache takes at most now: less than cache_max_bytes when its volume or quota has no room for them.',
      ({ limitBytes }) => limitBytes,
    ],
    ['cache_entries', 'Blobs in the cache, manifests and layers.', ({ entries }) => entries],
  ];
  for (const [name, help, value] of gauges) {
    new Gauge({
      name: `registry_packages_proxy_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(value(usage()));
      },
    });
  }
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
  new Counter({
    name: 'registry_packages_proxy_cache_scrubbed_bytes_total',
    help: 'Bytes of the cache that were read and verified again in the background.',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(usage().scrubbedBytes);
    },
  });
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
  new Gauge({
    name: 'registry_packages_proxy_parallel_downloads_max',
    help: 'Downloads of packages that may run at a time.',
    registers: [registry],
    collect() {
      this.set(usage().max);
    },
  });
  new Counter({
    name: 'registry_packages_proxy_parallel_downloads_revoked_total',
    help: 'Downloads that ended because no client waited for them while others waited for a slot.',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(usage().revoked);
    },
  });
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
