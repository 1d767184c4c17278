/** Counts the switches from a source to another place, and shows which sources fail. */
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
    help: 'Times that another place was asked instead of a source, by reason; "absent" is not a failure.',
    labelNames: ['source', 'reason'],
    registers: [registry],
  });
  for (const source of kinds) for (const reason of REASONS) switches.inc({ source, reason }, 0);
  new Gauge({
    name: 'registry_packages_proxy_source_failing',
    help: '1 after a source failed or was slow, until it answers well again; otherwise 0.',
    labelNames: ['source', 'host'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { kind: source, name: host, isFailing } of status()) this.set({ source, host }, isFailing ? 1 : 0);
    },
  });
  return ({ source, reason }) => {
    switches.inc({ source: source.kind, reason });
  };
}
