/** The targets of the service, many of them relative to a peer in the same run. A target is never changed to fit a result. */
import { counted } from './figures.ts';
import type { PeerName } from './peers/peer.ts';

export interface Target {
  readonly id: string;
  readonly what: string;
  readonly is: 'at least' | 'at most' | 'exactly';
  readonly limit: number;
  /** The run fails if this target is missed, because the chart or a document relies on it. */
  readonly mustHold?: true;
  readonly unit: 'x' | 'ms' | 'MiB' | 'MB' | 'requests';
}

/** The measurements of scenario `hits`: sizes in MiB and numbers of clients. */
const BIG_HITS = [64, 256].flatMap((mib) => [1, 16].map((clients) => ({ mib, clients })));

export const TARGETS: readonly Target[] = [
  atLeast(1.6, 'sidecar-http1', 'sidecar, hit 64 MiB, 1 client: bytes/s with HTTP/1.1, relative to HTTP/2'),
  ...[1, 8, 64].map((clients) => {
    const cell = `hit 64 MiB, ${counted(clients, 'client')}`;
    return atLeast(1, `sidecar-hit-${String(clients)}`, `sidecar, ${cell}: bytes/s relative to go io.Copy`);
  }),
  atLeast(
    1,
    'sidecar-miss-verified',
    'sidecar, miss, cold 64 MiB, 1 client: bytes/s relative to go io.Copy with verification',
  ),
  atLeast(
    1,
    'sidecar-miss',
    'sidecar, miss, cold 64 MiB, 1 client: bytes/s relative to go io.Copy, which does not verify',
  ),
  ...BIG_HITS.flatMap(({ mib, clients }) => {
    const cell = `hit ${String(mib)} MiB, ${counted(clients, 'client')}`;
    return [
      atLeast(0.95, throughputId(cell, 'nginx'), `${cell}: bytes/s relative to nginx`),
      atLeast(1.2, throughputId(cell, 'go io.Copy'), `${cell}: bytes/s relative to go io.Copy`),
      atLeast(1.4, throughputId(cell, 'distribution'), `${cell}: bytes/s relative to distribution`),
    ];
  }),
  atLeast(1.0, throughputId('hit 1 MiB, 16 clients', 'nginx'), 'hit 1 MiB, 16 clients: bytes/s relative to nginx'),
  atLeast(
    5,
    throughputId('hit 1 MiB, 16 clients', 'distribution'),
    'hit 1 MiB, 16 clients: bytes/s relative to distribution',
  ),
  atLeast(
    1.0,
    throughputId('hit 4 KiB, 64 clients', 'go io.Copy'),
    'hit 4 KiB, 64 clients: requests/s relative to go io.Copy',
  ),
  atMost(1, 'ms', 'first-byte', 'first byte of a hit, 64 MiB, 1 client: delay relative to nginx'),
  atMost(1.0, 'x', 'miss', 'miss, cold 64 MiB, 1 client: time relative to distribution'),
  exactly(1, 'stampede-manifests', '64 clients on one cold 64 MiB: requests for the manifest'),
  exactly(1, 'stampede-blobs', '64 clients on one cold 64 MiB: requests for the blob'),
  atMost(0.5, 'x', 'stampede', '64 clients on one cold 64 MiB: time relative to distribution'),
  atMost(
    0.3,
    'x',
    'bucket-warm',
    'cold replica, bucket that has 64 MiB, registry at 20 ms, 25 MB/s: time relative to no bucket',
  ),
  atMost(
    1.05,
    'x',
    'bucket-empty',
    'cold replica, empty bucket, 64 MiB, registry at 20 ms, 25 MB/s: time relative to no bucket',
  ),
  exactly(0, 'bucket-registry', 'cold replica, bucket that has the package: requests to the registry for the package'),
  exactly(0, 'bucket-failures', 'cold replica, bucket that has the package, no registry: failed requests'),
  ...(
    [
      ['silent', 'does not answer', 300],
      ['stalling', 'stalls in the middle', 1500],
    ] as const
  ).flatMap(([id, does, ms]) => [
    atMost(ms, 'ms', `bucket-${id}-first`, `cold 8 MiB, a bucket that ${does}: delay of the first package`),
    atMost(20, 'ms', `bucket-${id}-next`, `cold 8 MiB, a bucket that ${does}: delay of the next packages`),
  ]),
  exactly(0, 'bucket-sick-failures', 'cold 8 MiB, a bucket that does not answer or stalls: failed requests'),
  atMost(5, 'ms', 'bucket-start', 'start to the first 200 of /healthz: additional processor time with a bucket'),
  atMost(2, 'MiB', 'bucket-idle', 'idle: additional resident memory with a bucket'),
  exactly(1, 'balanced-fetches', '64 clients on one cold 64 MiB, 3 replicas behind nginx: requests for the blob'),
  atMost(64, 'MiB', 'slow-readers', '200 readers at 256 KiB/s of one package of 256 MiB: resident memory above idle'),
  ...(
    [
      ['hits', 'of one cached package'],
      ['downloads', 'of one download'],
      ['bypass', 'of one package that is not cached'],
      ['bypasses', 'of 200 packages that are not cached'],
    ] as const
  ).map(([id, what]) =>
    atMost(64, 'MiB', `memory-${id}`, `1 000 readers at 1 KiB/s ${what}: resident memory above idle`),
  ),
  atMost(256, 'MiB', 'memory-sockets', '1 000 readers at 1 KiB/s, the worst of these four: memory of all sockets'),
  atMost(32, 'MiB', 'memory-registries', '600 registries, each used once: resident memory above idle'),
  atMost(100, 'MB', 'idle', 'idle: resident memory'),
  atMost(50, 'ms', 'turn-start', 'longest turn of the event loop: start on 100 000 entries'),
  atMost(50, 'ms', 'turn-evict', 'longest turn of the event loop: 97 000 blobs evicted for one download'),
  atMost(50, 'ms', 'turn-layer', 'longest turn of the event loop: a cached layer of 4 MiB requested as a manifest'),
  atMost(50, 'ms', 'turn-list', 'longest turn of the event loop: a Kubernetes list of 64 MiB'),
  atMost(1000, 'ms', 'probe-downloads', '/healthz on a new connection during 300 cold downloads: longest answer'),
  atMost(1000, 'ms', 'probe-manifests', '/healthz on a new connection during 250 manifests of 4 MiB: longest answer'),
  atMost(0.8, 'x', 'admission-mean', '200 nodes on one link, places for 14: mean time relative to places for all'),
  atMost(
    1.1,
    'x',
    'admission-all',
    '200 nodes on one link, places for 14: time until all are done, relative to places for all',
  ),
  atMost(0.25, 'x', 'fleet-links', 'upgrade of 200 nodes, links are the limit: deviation of the simulation'),
  atMost(0.25, 'x', 'fleet-machine', 'upgrade of 200 nodes, the machine is the limit: deviation of the simulation'),
  ...['100', '1000'].map((megabits) =>
    atMost(
      1.1,
      'x',
      `upgrade-${megabits}`,
      `32 nodes, 40 packages, registry at ${megabits} Mbit/s: time relative to the lower bound`,
    ),
  ),
  {
    ...atMost(
      1,
      'x',
      'sizing-proxy',
      'up to 1 000 slow readers: memory of the service, relative to the limit in the chart',
    ),
    mustHold: true,
  },
  {
    ...atMost(
      1,
      'x',
      'sizing-kube-rbac-proxy',
      'up to 1 000 slow readers: memory of the sidecar, relative to the limit in the chart',
    ),
    mustHold: true,
  },
  atMost(1.25, 'x', 'growth-hits', 'hits/s with 100 entries, relative to 100 000 entries'),
  atMost(350, 'ms', 'start-healthz', 'start to the first 200 of /healthz'),
  atMost(350, 'ms', 'start-package', 'start to the first 200 of a cached package'),
  atMost(1000, 'ms', 'restart', 'start on 10 000 cached files to the first 200 of a cached package'),
];

/** The id of the throughput of a hit relative to a peer. */
export function throughputId(cell: string, peer: PeerName): string {
  return `${cell} / ${peer}`;
}

function atLeast(limit: number, id: string, what: string): Target {
  return { id, what, is: 'at least', limit, unit: 'x' };
}

function atMost(limit: number, unit: Target['unit'], id: string, what: string): Target {
  return { id, what, is: 'at most', limit, unit };
}

function exactly(limit: number, id: string, what: string): Target {
  return { id, what, is: 'exactly', limit, unit: 'requests' };
}
