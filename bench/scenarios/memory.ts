/** The memory of the process and of the sockets with a thousand slow readers, and the memory that 600 registries leave behind. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CA, serverCertificate } from '../../test/support/tls/certificates.ts';
import { type BenchImage, createImages } from '../bench-image.ts';
import { figure, KIB, mebibytes, MIB } from '../figures.ts';
import { Origin } from '../peers/origin.ts';
import type { Peer } from '../peers/peer.ts';
import { ServiceHome, type ServiceSettings } from '../peers/service.ts';
import type { Bench, Findings, Scenario } from '../scenario.ts';
import { hostSocketBytes } from '../socket-memory.ts';

const READERS = 1000;
const BYTES_PER_SECOND = KIB;
/** Longer than a request waits for a place. */
const SECONDS = 8;
const LOOK_MS = 100;
/** Sequential requests before the idle memory is measured, because the first ones load code. */
const WARM_UP = 20;
/** The time until a process is at rest after its start or after its use. */
const SETTLE_MS = 2000;
/** A tenth of a memory limit of 1Gi. */
const MAX_SOCKET_MEMORY = '102Mi';
/** The memory for each waiting client in the chart's limit (docs/sizing.md). */
const SIZED_BYTES = 128 * KIB;
const WAYS = ['hits', 'downloads', 'bypass', 'bypasses'] as const;

const REGISTRIES = 600;
/** After this time the connections of an unused registry are closed. */
const IDLE_MS = 65_000;

type Way = (typeof WAYS)[number];

interface Reading {
  readonly way: Way;
  readonly idleBytes: number;
  readonly peakBytes: number;
  /** The growth of the memory of all sockets up to its peak, with both ends of each connection. */
  readonly socketBytes: number;
  /** Readers that got a 503. */
  readonly refused: number;
}

const TITLES: Readonly<Record<Way, string>> = {
  hits: 'one cached package of 16 MiB',
  downloads: 'one package of 16 MiB that is downloaded',
  bypass: 'one package of 16 MiB that is not cached',
  bypasses: '200 packages of 8 MiB that are not cached',
};

export const MEMORY: Scenario = {
  name: 'memory',
  about:
    '1 000 clients at once read 1 KiB/s each, until they are cut off after 8 s; `server.maxSocketMemory` is a tenth of 1Gi. The table shows the peak of the memory ' +
    'of the process and of all TCP sockets of the machine, including those of the registry and the clients. Idle is the memory 2 s after 20 probes and 20 requests for a package of ' +
    '1 MiB that comes from the same place. The second table is for 600 registries with TLS and a CA, each used once for a package of 1 KiB.',
  run: async (bench) => {
    const { registry } = bench.programs;
    if (registry === undefined || (await hostSocketBytes()) === undefined) return { tables: [], measured: {} };
    const registries = await useRegistries(bench, registry);
    const readings: Reading[] = [];
    for (const way of WAYS) readings.push(await readSlowly(bench, registry, way));
    return findings(readings, await registries.rested());
  },
};

function findings(readings: readonly Reading[], registries: Awaited<ReturnType<UsedRegistries['rested']>>): Findings {
  const above = (bytes: number, idleBytes: number): number => (bytes - idleBytes) / MIB;
  const sized = mebibytes(READERS * SIZED_BYTES);
  const { idleBytes, usedBytes, restedBytes } = registries;
  return {
    tables: [
      {
        title: 'memory of 1 000 slow readers, MiB',
        columns: ['of', 'idle', 'above idle', 'in the formula', 'all sockets', 'refused by 503'],
        rows: readings.map((one) => [
          TITLES[one.way],
          mebibytes(one.idleBytes),
          figure(above(one.peakBytes, one.idleBytes)),
          sized,
          mebibytes(one.socketBytes),
          String(one.refused),
        ]),
      },
      {
        title: 'memory of 600 registries, MiB',
        columns: ['idle', 'above idle after their use', '65 s later'],
        rows: [[mebibytes(idleBytes), figure(above(usedBytes, idleBytes)), figure(above(restedBytes, idleBytes))]],
      },
    ],
    measured: {
      ...Object.fromEntries(readings.map((one) => [`memory-${one.way}`, above(one.peakBytes, one.idleBytes)])),
      'memory-sockets': Math.max(...readings.map(({ socketBytes }) => socketBytes)) / MIB,
      'memory-registries': above(usedBytes, idleBytes),
    },
  };
}

async function readSlowly(bench: Bench, registry: string, way: Way): Promise<Reading> {
  const { workspace } = bench;
  const folder = await workspace.folder('images');
  const images = await createImages(folder, way === 'bypasses' ? 8 * MIB : 16 * MIB, way === 'bypasses' ? 200 : 1);
  const small = await createImages(folder, MIB, 1);
  const origin = await Origin.start(workspace, registry);
  await origin.publish([...images, ...small]);
  const cacheSize = way === 'bypass' || way === 'bypasses' ? '1Mi' : '64Mi';
  const settings = { origin, cacheSize, maxSocketMemory: MAX_SOCKET_MEMORY };
  const peer = await startIdle(bench, settings, way === 'hits' ? [...images, ...small] : [], small);
  const idleBytes = peer.process.residentBytes();
  const socketsBefore = (await hostSocketBytes()) ?? 0;
  peer.process.resetPeak();
  const urls = images.map((image) => peer.url(image));
  const loading = bench.load({
    urls,
    clients: READERS,
    requests: READERS,
    cutOffSeconds: SECONDS,
    bytesPerSecond: BYTES_PER_SECOND,
  });
  const socketBytes = (await peakOfSockets(loading)) - socketsBefore;
  const { failures } = await loading;
  const peakBytes = peer.process.peakBytes();
  await Promise.all([peer.process.end(), origin.process.end()]);
  return { way, idleBytes, peakBytes, socketBytes, refused: failures };
}

/** Starts the process, sends probes and requests, and waits until it is at rest. */
async function startIdle(
  bench: Bench,
  settings: ServiceSettings,
  cached: readonly BenchImage[],
  [small]: readonly BenchImage[],
): Promise<Peer> {
  const home = await ServiceHome.create(bench.workspace, bench.programs.service, settings);
  await home.fill(cached);
  const { peer } = await home.start();
  if (small === undefined) return peer;
  const url = peer.url(small);
  await bench.load({ urls: [url], clients: 1, requests: WARM_UP });
  await bench.load({ urls: [`${new URL(url).origin}/healthz`], clients: 1, requests: WARM_UP });
  await sleep(SETTLE_MS);
  return peer;
}

async function peakOfSockets(loading: Promise<unknown>): Promise<number> {
  let peak = 0;
  const ended = loading.then(
    () => true,
    () => true,
  );
  while (!(await Promise.race([ended, sleep(LOOK_MS, false)]))) {
    peak = Math.max(peak, (await hostSocketBytes()) ?? 0);
  }
  return peak;
}

interface UsedRegistries {
  /** Waits until no connection to the registries is left. */
  rested(): Promise<{ readonly idleBytes: number; readonly usedBytes: number; readonly restedBytes: number }>;
}

/** Configures 600 registries, which are one server with 600 repositories. */
async function useRegistries(bench: Bench, program: string): Promise<UsedRegistries> {
  const { workspace } = bench;
  const images = await createImages(await workspace.folder('images'), KIB, REGISTRIES);
  const server = await Origin.start(workspace, program, { ...serverCertificate('localhost'), ca: CA });
  const nameOf = (index: number): string => `deckhouse/registry-${String(index)}`;
  for (const [index, image] of images.entries()) await server.publish([image], nameOf(index));
  const registries = images.map((_, index) => ({
    repo: `${server.host}/${nameOf(index)}`,
    ca: CA,
    default: index === 0,
  }));
  const peer = await startIdle(bench, { credentials: { registries } }, [], images);
  const idleBytes = peer.process.residentBytes();
  const urls = images.map(
    (image, index) => `${peer.url(image)}&repository=${encodeURIComponent(registries[index]?.repo ?? '')}`,
  );
  const { failures, failure } = await bench.load({ urls, clients: 1, requests: REGISTRIES });
  if (failures > 0) throw new Error(`${String(failures)} packages failed: ${String(failure)}`);
  const usedBytes = peer.process.residentBytes();
  const usedAt = performance.now();
  return {
    rested: async () => {
      await sleep(Math.max(0, IDLE_MS - (performance.now() - usedAt)));
      const restedBytes = peer.process.residentBytes();
      await workspace.clear();
      return { idleBytes, usedBytes, restedBytes };
    },
  };
}
