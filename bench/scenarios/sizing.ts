/** Checks the memory limits that the chart derives from the number of clients. */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseQuantity } from '../../src/domain/quantity.ts';
import { createImage } from '../bench-image.ts';
import { mebibytes, MIB } from '../figures.ts';
import { containersOfChart, Sidecars } from '../peers/sidecar.ts';
import type { MeasuredProcess } from '../measured-process.ts';
import type { Bench, Scenario } from '../scenario.ts';
import { socketBytes } from '../socket-memory.ts';

const READERS = [250, 500, 1000];
/** One size that occupies a place for a long time, and one that fits into the buffers of the sidecar. */
const BODIES = [64 * MIB, 4 * MIB];
const RATE = 16 * 1024;
/** Longer than a request waits for a place. */
const SECONDS = 10;
const CONTAINERS = ['proxy', 'kube-rbac-proxy'] as const;

interface Measured {
  readonly residentBytes: number;
  readonly socketBytes: number;
  readonly limitBytes: number;
}

interface Step {
  readonly readers: number;
  readonly bodyBytes: number;
  readonly containers: readonly Measured[];
}

export const SIZING: Scenario = {
  name: 'sizing',
  about:
    '`expectedClients` clients read a cached package at 16 KiB/s each through the sidecar, for 10 s: ' +
    'the peaks of the resident memory and of the memory of the sockets, which cgroup v2 charges to the container, and the memory limit in the chart.',
  isLong: true,
  run: async (bench) => {
    const { 'kube-rbac-proxy': program, helm } = bench.programs;
    if (program === undefined || helm === undefined || (await socketBytes()) === undefined) {
      return { tables: [], measured: {} };
    }
    const steps: Step[] = [];
    for (const readers of READERS) {
      const limits = await limitsOf(helm, readers);
      for (const bodyBytes of BODIES) {
        steps.push({ readers, bodyBytes, containers: await read(bench, program, helm, readers, bodyBytes, limits) });
      }
    }
    return {
      tables: [
        {
          title: 'memory by expectedClients, MiB',
          columns: [
            'clients',
            'package',
            ...['service', 'sidecar'].flatMap((one) => [one, 'its sockets', 'its limit']),
          ],
          rows: steps.map(({ readers, bodyBytes, containers }) => [
            String(readers),
            `${mebibytes(bodyBytes)} MiB`,
            ...containers.flatMap((one) => [
              mebibytes(one.residentBytes),
              mebibytes(one.socketBytes),
              mebibytes(one.limitBytes),
            ]),
          ]),
        },
      ],
      measured: Object.fromEntries(
        CONTAINERS.map((name, index) => [
          `sizing-${name}`,
          Math.max(...steps.map(({ containers }) => shareOf(containers[index]))),
        ]),
      ),
    };
  },
};

function shareOf(measured: Measured | undefined): number {
  if (measured === undefined) return Number.NaN;
  return (measured.residentBytes + measured.socketBytes) / measured.limitBytes;
}

async function limitsOf(helm: string, clients: number): Promise<number[]> {
  const containers = await containersOfChart(helm, '--set', `expectedClients=${String(clients)}`);
  return CONTAINERS.map((name) => {
    const limit = containers.find((one) => one.name === name)?.resources.limits?.memory;
    const bytes = limit === undefined ? undefined : parseQuantity(limit);
    if (bytes === undefined) throw new Error(`the chart has no memory limit for ${name}`);
    return bytes;
  });
}

async function read(
  bench: Bench,
  program: string,
  helm: string,
  readers: number,
  bodyBytes: number,
  limits: readonly number[],
): Promise<Measured[]> {
  const image = await createImage(await bench.workspace.folder('images'), bodyBytes);
  // The service derives the same value from its memory limit.
  const maxSocketMemory = String(Math.floor((limits[0] ?? 0) / 10));
  const [peer] = await bench.startPeers(['ours'], { cached: [image], origin: undefined, maxSocketMemory });
  if (peer === undefined) throw new Error('the service is missing');
  const { origin, pathname, search } = new URL(peer.url(image));
  const sidecars = await Sidecars.create(bench.workspace, program, helm);
  try {
    const sidecar = await sidecars.start(origin, false);
    const load = { urls: [`${sidecar.base}${pathname}${search}`], clients: readers, secure: sidecar.secure };
    await bench.load({ ...load, clients: 1, requests: 1 });
    const processes = [peer.process, sidecar.process];
    for (const one of processes) one.resetPeak();
    const loading = bench.load({ ...load, cutOffSeconds: SECONDS, bytesPerSecond: RATE });
    const sockets = await peakSockets(processes, loading);
    return processes.map((one, index) => ({
      residentBytes: one.peakBytes(),
      socketBytes: sockets[index] ?? 0,
      limitBytes: limits[index] ?? 0,
    }));
  } finally {
    sidecars.close();
    await bench.workspace.clear();
  }
}

async function peakSockets(processes: readonly MeasuredProcess[], loading: Promise<unknown>): Promise<number[]> {
  const peaks = processes.map(() => 0);
  const ended = loading.then(() => true);
  while (!(await Promise.race([ended, sleep(200, false)]))) {
    const bytes = await socketBytes();
    for (const [index, { pid }] of processes.entries()) {
      peaks[index] = Math.max(peaks[index] ?? 0, bytes?.get(pid) ?? 0);
    }
  }
  return peaks;
}
