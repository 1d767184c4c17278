/** Counts clients that the loopback port refused. */
import { Counter, type Registry } from 'prom-client';

/** `reasons` are there from the start, so that the first refusal is seen as an increase. */
export function refusalMetrics(registry: Registry, reasons: readonly string[]): (reason: string) => void {
  const refused = new Counter({
    name: 'registry_packages_proxy_loopback_refused_total',
    help: 'Connections and requests that the hardened loopback port refused, by what was wrong.',
    labelNames: ['reason'],
    registers: [registry],
  });
  for (const reason of reasons) refused.inc({ reason }, 0);
  return (reason) => {
    refused.inc({ reason });
  };
}
