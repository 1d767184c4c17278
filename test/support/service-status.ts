/** Makes states of a service as in `/status`, for tests of their views. */
import type { ServiceStatus } from '../../src/adapters/cli/service-status.ts';

type Minute = Omit<ServiceStatus['last_hour'][number], 'at'>;
type Arriving = ServiceStatus['downloads']['list'][number];

interface Contents {
  readonly outcomes?: ServiceStatus['outcomes'];
  /** The oldest first, one after the other since the start. */
  readonly minutes?: readonly Minute[];
  readonly list?: readonly Arriving[];
  readonly failures?: ServiceStatus['failures'];
}

/** Seconds after the start of the service. */
export function statusAt(
  seconds: number,
  { outcomes, minutes = [], list = [], failures = [] }: Contents,
): ServiceStatus {
  const time = (after: number): string => new Date(Date.UTC(2026, 0, 1) + after * 1000).toISOString();
  return {
    ...{
      version: '1.2.3',
      node: 'master-0',
      pod: null,
      started_at: time(0),
      at: time(seconds),
      ready: true,
      missing: [],
    },
    cache: { bytes: 512, max_bytes: 1024, limit_bytes: 1024, blobs: 2, evicted: 0, damaged: 0 },
    outcomes: outcomes ?? { hit: 0, miss: 0, joined: 0, bypass: 0 },
    last_hour: minutes.map((minute, index) => ({ at: time(60 * index), ...minute })),
    failures,
    downloads: { max: 64, running: list.length, idle: 0, queued: 0, list },
  };
}

/** A download, opened 10 s after the start of the service. */
export function arriving(seed: number, more: Partial<Arriving> = {}): Arriving {
  const [opened_at, started_at] = ['2026-01-01T00:00:10.000Z', '2026-01-01T00:00:09.000Z'];
  const digest = `sha256:${String(seed).repeat(64).slice(0, 64)}`;
  return {
    ...{
      digest,
      layer: digest,
      repository: 'registry.example.com/modules',
      path: 'ingress',
      bytes: 5000,
      size: 10_000,
    },
    ...{ clients: 3, queued: false, started_at, opened_at, received_at: opened_at, ...more },
  };
}
