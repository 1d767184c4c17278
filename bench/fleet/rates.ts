/** The rates of the simulation: measured for a master, assumed for the networks. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Rates {
  /** Bytes per second of the link to the registry, which all masters share. */
  readonly registry: number;
  /** Bytes per second that a master sends: the lower limit of its network and its processors. */
  readonly master: number;
  readonly masters: number;
  /** Bytes per second that a node receives. */
  readonly node: number;
  /** Bytes per second that a node sends to others in a peer-to-peer design. */
  readonly nodeUpload: number;
  /** Bytes per second of a bucket, and of a balancer before all masters. */
  readonly bucket: number;
  readonly balancer: number;
}

export interface MasterCost {
  /** Processor seconds of service and sidecar for each GiB that they send. */
  readonly cpuSecondsPerGiB: number;
}

const GIB = 1024 ** 3;
const GIGABIT = 1e9 / 8;
const NETWORK = 10 * GIGABIT;
const PROCESSORS = 2;
const PERFORMANCE = join(import.meta.dirname, '../../docs/performance.md');

/** Reads the cost from docs/performance.md: 64 clients, a cached package, TLS, kube-rbac-proxy. */
export function measuredCost(report = readFileSync(PERFORMANCE, 'utf8')): MasterCost {
  const [, section = ''] = report.split('### sidecar: hit 64 MiB, 64 clients\n');
  const row =
    /^\| ours +\| HTTP\/1\.1 .*$/m
      .exec(section)?.[0]
      .split('|')
      .map((cell) => cell.trim()) ?? [];
  const [, , , , , service, sidecar] = row.map(Number);
  const cpuSecondsPerGiB = (service ?? Number.NaN) + (sidecar ?? Number.NaN);
  if (!(cpuSecondsPerGiB > 0)) throw new Error('docs/performance.md has no row for the sidecar with 64 clients');
  return { cpuSecondsPerGiB };
}

/** Masters and a balancer with 10 Gbit/s and two processors, nodes with 1 Gbit/s, a registry behind 200 Mbit/s. */
export function ratesOf({ cpuSecondsPerGiB }: MasterCost): Rates {
  return {
    registry: 0.2 * GIGABIT,
    master: Math.min(NETWORK, (PROCESSORS * GIB) / cpuSecondsPerGiB),
    masters: 3,
    node: GIGABIT,
    nodeUpload: GIGABIT / 2,
    bucket: NETWORK,
    balancer: NETWORK,
  };
}
