/** Shows the memory of the bodies that are being sent, and the requests that wait for it. */
import { readFileSync } from 'node:fs';
import { Counter, Gauge, type Registry } from 'prom-client';

export interface Sending {
  readonly sending: number;
  readonly waiting: number;
  readonly refused: number;
  readonly displaced: number;
}

/** All sockets of the network that this process is in: of the whole host, in the chart. */
const SOCKSTAT = '/proc/self/net/sockstat';
const PAGE_BYTES = 4096;

/** `acceptDelay` resolves with seconds, and is asked whenever metrics are. */
export function sendingMetrics(registry: Registry, usage: () => Sending, acceptDelay: () => Promise<number>): void {
  const gauges: [name: string, help: string, value: () => number | Promise<number>][] = [
    ['sending', 'Packages that are being sent, but for small ones.', () => usage().sending],
    ['sending_waiting', 'Packages that wait until others have been sent.', () => usage().waiting],
    ['tcp_memory_bytes', 'Memory of all TCP sockets of the network that the service is in.', readTcpMemory],
    ['accept_delay_seconds', 'How long a new connection waited just now until the service accepted it.', acceptDelay],
  ];
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
  const counters: [name: string, help: string, value: () => number][] = [
    [
      'sending_refused_total',
      'Packages that were refused by 503, since too many were being sent.',
      () => usage().refused,
    ],
    ['sending_displaced_total', 'Readers that took nothing and lost their places to others.', () => usage().displaced],
  ];
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

/** 0 where the system does not say. In this turn, as the files of certificates are read. */
function readTcpMemory(): number {
  try {
    return Number(/^TCP: .*\bmem (\d+)/m.exec(readFileSync(SOCKSTAT, 'utf8'))?.[1] ?? 0) * PAGE_BYTES;
  } catch {
    return 0;
  }
}
