/** Counts how often another place was asked instead of a source, and shows which sources rest. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { SourceKind, SourceStatus } from '../../domain/ports/registry-gateway.ts';

const REASONS = ['absent', 'failed', 'late', 'slow', 'distrusted', 'resting'] as const;

interface SourceSwitch {
  readonly source: { readonly kind: SourceKind };
  readonly reason: (typeof REASONS)[number];
}

export function sourceMetrics(
  registry: Registry,
  kinds: readonly SourceKind[],
  status: () => readonly SourceStatus[],
): (event: SourceSwitch) => void {
  const switches = new Counter({
    name: 'registry_packages_proxy_source_switches_total',
    help: 'Times another place was asked instead of a source, by reason; "absent" is no fault of it.',
    labelNames: ['source', 'reason'],
    registers: [registry],
  });
  for (const source of kinds) for (const reason of REASONS) switches.inc({ source, reason }, 0);
  new Gauge({
    name: 'registry_packages_proxy_source_resting',
    help: 'Whether a source is asked last now, because it failed or was slow: 1 or 0.',
    labelNames: ['source', 'host'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { kind: source, name: host, resting } of status()) this.set({ source, host }, resting ? 1 : 0);
    },
  });
  return ({ source, reason }) => {
    switches.inc({ source: source.kind, reason });
  };
}
