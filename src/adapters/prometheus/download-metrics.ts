/** Shows how many downloads run and wait, without the use case knowing. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { SlotUsage } from '../../application/download-slots.ts';

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
