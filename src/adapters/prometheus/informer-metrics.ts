/** Shows whether what is known of the cluster is fresh. */
import { Counter, Gauge, type Registry } from 'prom-client';

/** The part of a watcher's events that can be counted. */
export type WatchedEvent = { readonly resource: string } & (
  | { readonly kind: 'changed'; readonly objects: number; readonly rejected: number }
  | { readonly kind: 'listed' | 'forbidden' | 'failed' | 'invalid' | 'conflict' }
);

export function informerMetrics(registry: Registry, resources: readonly string[]): (event: WatchedEvent) => void {
  const labelNames = ['resource'];
  const lastSync = new Gauge({
    name: 'registry_packages_proxy_informer_last_sync_timestamp_seconds',
    help: 'When the resource was last listed whole, in Unix time; 0 when never.',
    labelNames,
    registers: [registry],
  });
  const objects = new Gauge({
    name: 'registry_packages_proxy_informer_objects',
    help: 'Objects of the resource that are known now.',
    labelNames,
    registers: [registry],
  });
  const restarts = new Counter({
    name: 'registry_packages_proxy_informer_restarts_total',
    help: 'Lists and watches of the resource that failed and were begun anew.',
    labelNames,
    registers: [registry],
  });
  const rejected = new Counter({
    name: 'registry_packages_proxy_informer_rejected_total',
    help: 'Objects that could not be used as they were: invalid, or in conflict with an older one.',
    labelNames: ['resource', 'reason'],
    registers: [registry],
  });
  const rejectedNow = new Gauge({
    name: 'registry_packages_proxy_informer_rejected_objects',
    help: 'Objects of the resource that cannot be used as they are now.',
    labelNames,
    registers: [registry],
  });
  for (const resource of resources) {
    lastSync.set({ resource }, 0);
    objects.set({ resource }, 0);
    rejectedNow.set({ resource }, 0);
    restarts.inc({ resource }, 0);
    for (const reason of ['invalid', 'conflict']) rejected.inc({ resource, reason }, 0);
  }
  return (event) => {
    const { resource } = event;
    switch (event.kind) {
      case 'listed':
        lastSync.set({ resource }, Date.now() / 1000);
        break;
      case 'changed':
        objects.set({ resource }, event.objects);
        rejectedNow.set({ resource }, event.rejected);
        break;
      case 'forbidden':
        break;
      case 'failed':
        restarts.inc({ resource });
        break;
      case 'invalid':
      case 'conflict':
        rejected.inc({ resource, reason: event.kind });
    }
  };
}
