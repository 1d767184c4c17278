/** The path of real requests: TLS and authorization by the chart's sidecar, and the service or the Go copy behind it. */
import { type BenchImage, createImage, createImages } from '../bench-image.ts';
import { counted, figure, KIB, mebibytes, MIB, sizeName } from '../figures.ts';
import type { LoadOptions } from '../load-generator.ts';
import { atRest, type Sample, summarise, type Summary, takeTurns } from '../measure.ts';
import type { Peer, PeerName } from '../peers/peer.ts';
import { type Sidecar, Sidecars } from '../peers/sidecar.ts';
import type { Bench, Findings, Scenario, Table } from '../scenario.ts';

type Protocol = 'HTTP/1.1' | 'HTTP/2';

/** A peer behind a sidecar. */
interface Guarded {
  readonly name: PeerName;
  readonly protocol: Protocol;
  readonly peer: Peer;
  readonly sidecar: Sidecar;
}

interface GuardedSample extends Sample {
  readonly sidecarCpuSeconds: number;
  readonly sidecarPeakBytes: number;
}

interface GuardedSummary {
  readonly guarded: Guarded;
  readonly summary: Summary;
  readonly sidecarCpuSecondsPerGiB: number;
  readonly sidecarCpuMsPerRequest: number;
  readonly sidecarPeakBytes: number;
}

interface Cell {
  readonly title: string;
  readonly isSmall: boolean;
  readonly summaries: readonly GuardedSummary[];
}

const GIB = 1024 ** 3;
const PEERS: readonly PeerName[] = ['ours', 'go io.Copy'];
const PROTOCOLS: readonly Protocol[] = ['HTTP/1.1', 'HTTP/2'];
const CLIENTS = [1, 8, 64];
const BIG = 64 * MIB;
const TINY = 4 * KIB;
/** The Go copy stores a copy for each client; 64 copies fit into the page cache without writes to the disk. */
const STAMPEDES = [
  { clients: 8, bytes: 64 * MIB },
  { clients: 64, bytes: 8 * MIB },
];

export const SIDECAR: Scenario = {
  name: 'sidecar',
  about:
    'Through kube-rbac-proxy with the arguments of the chart (HTTP/1.1), and with HTTP/2 enabled. Each client has its own ' +
    'TLS connection and a token. CPU is shown for the peer and for the sidecar before it. `go, verified` is the Go copy ' +
    'with verification: like our service, it ends the answer of a miss only after the digest is verified.',
  run: async (bench) => {
    const { 'kube-rbac-proxy': program, helm } = bench.programs;
    if (program === undefined || helm === undefined) return { tables: [], measured: {} };
    const sidecars = await Sidecars.create(bench.workspace, program, helm);
    try {
      return await measureAll(bench, sidecars);
    } finally {
      sidecars.close();
    }
  },
};

async function measureAll(bench: Bench, sidecars: Sidecars): Promise<Findings> {
  const { rounds, longRounds, seconds } = bench.effort;
  const folder = await bench.workspace.folder('images');
  const [big, tiny] = [await createImage(folder, BIG), await createImage(folder, TINY)];
  const origin = await bench.startOrigin();
  const peers = await bench.startPeers(PEERS, { cached: [big, tiny], origin });
  const guarded = await guard(peers, PROTOCOLS, sidecars, big);
  const cells: Cell[] = [];
  const hits = async (image: BenchImage, clients: number, options: Omit<LoadOptions, 'urls' | 'clients'>) => {
    const isSmall = image === tiny;
    const times = clients === 1 || isSmall ? rounds : longRounds;
    const taken = await takeTurns(guarded, times, (one) => measure(bench, one, image, { clients, ...options }));
    const title = `sidecar: hit ${sizeName(image.layer.size)}, ${counted(clients, 'client')}`;
    cells.push({ title, isSmall, summaries: summariseAll(taken) });
  };
  for (const one of guarded) await warmUp(bench, one, [big, tiny]);
  for (const clients of CLIENTS) {
    // With many clients each package takes seconds, so the bytes of requests that are cut off count, too.
    await hits(big, clients, clients === 1 ? { seconds } : { cutOffSeconds: Math.max(0.8, seconds) });
  }
  for (const clients of CLIENTS) await hits(tiny, clients, { seconds });
  if (origin !== undefined) {
    // Only misses of this peer differ from those of the Go copy.
    const verifying = await bench.startPeers(['go, verified'], { cached: [big, tiny], origin });
    const missing = [...guarded, ...(await guard(verifying, ['HTTP/1.1'], sidecars, big))];
    for (const one of missing.slice(guarded.length)) await warmUp(bench, one, [big, tiny]);
    const misses = async (title: string, clients: number, bytes: number, times: number): Promise<void> => {
      const images = await createImages(folder, bytes, times * PROTOCOLS.length);
      await origin.publish(images);
      const taken = await takeTurns(missing, times, (one, round) => {
        const image = images[round * PROTOCOLS.length + PROTOCOLS.indexOf(one.protocol)];
        if (image === undefined) throw new Error('too few images');
        return measure(bench, one, image, { clients, requests: clients });
      });
      cells.push({ title, isSmall: false, summaries: summariseAll(taken) });
    };
    await misses('sidecar: miss, cold 64 MiB, 1 client', 1, BIG, 2 * rounds - 1);
    for (const { clients, bytes } of STAMPEDES) {
      await misses(`sidecar: ${String(clients)} clients on one cold ${sizeName(bytes)}`, clients, bytes, longRounds);
    }
  }
  await bench.workspace.clear();
  return findings(cells);
}

async function guard(
  peers: readonly Peer[],
  protocols: readonly Protocol[],
  sidecars: Sidecars,
  some: BenchImage,
): Promise<Guarded[]> {
  const guarded: Guarded[] = [];
  for (const peer of peers) {
    for (const protocol of protocols) {
      const sidecar = await sidecars.start(new URL(peer.url(some)).origin, protocol === 'HTTP/2');
      guarded.push({ name: peer.name, protocol, peer, sidecar });
    }
  }
  return guarded;
}

function urlOf({ peer, sidecar }: Guarded, image: BenchImage): string {
  const { pathname, search } = new URL(peer.url(image));
  return `${sidecar.base}${pathname}${search}`;
}

async function warmUp({ load }: Bench, guarded: Guarded, images: readonly BenchImage[]): Promise<void> {
  const { secure } = guarded.sidecar;
  for (const image of images) {
    const urls = [urlOf(guarded, image)];
    const { failure } = await load({ urls, clients: 1, requests: 1, sha256: image.layer.hex, secure });
    if (failure !== undefined) throw new Error(`${guarded.name}, ${guarded.protocol}: ${failure}`);
    await load({ urls, clients: 4, seconds: image.layer.size < MIB ? 1 : 0.3, secure });
  }
}

async function measure(
  bench: Bench,
  guarded: Guarded,
  image: BenchImage,
  options: Omit<LoadOptions, 'urls'>,
): Promise<GuardedSample> {
  const { peer, sidecar } = guarded;
  const processes = [peer.process, sidecar.process] as const;
  for (const one of processes) one.resetPeak();
  const before = processes.map((one) => one.cpuSeconds());
  const report = await bench.load({ ...options, urls: [urlOf(guarded, image)], secure: sidecar.secure });
  for (const one of processes) await atRest(one);
  const [cpuSeconds = 0, sidecarCpuSeconds = 0] = processes.map((one, at) => one.cpuSeconds() - (before[at] ?? 0));
  const peakBytes = peer.process.peakBytes();
  return { ...report, cpuSeconds, peakBytes, sidecarCpuSeconds, sidecarPeakBytes: sidecar.process.peakBytes() };
}

function summariseAll(taken: ReadonlyMap<Guarded, readonly GuardedSample[]>): GuardedSummary[] {
  return [...taken].map(([guarded, samples]) => {
    const total = (pick: (sample: GuardedSample) => number): number =>
      samples.reduce((sum, sample) => sum + pick(sample), 0);
    const sidecarCpuSeconds = total((sample) => sample.sidecarCpuSeconds);
    return {
      guarded,
      summary: summarise(guarded.name, samples),
      sidecarCpuSecondsPerGiB: sidecarCpuSeconds / (total(({ bytes }) => bytes) / GIB),
      sidecarCpuMsPerRequest: (1000 * sidecarCpuSeconds) / total(({ requests }) => requests),
      sidecarPeakBytes: Math.max(...samples.map(({ sidecarPeakBytes }) => sidecarPeakBytes)),
    };
  });
}

function findings(cells: readonly Cell[]): Findings {
  const cell = (end: string): readonly GuardedSummary[] =>
    cells.find(({ title }) => title.endsWith(end))?.summaries ?? [];
  const one = cell('hit 64 MiB, 1 client');
  const miss = cell('miss, cold 64 MiB, 1 client');
  const rate = ({ bytesPerSecond }: Summary): number => bytesPerSecond;
  return {
    tables: cells.map(tableOf),
    measured: {
      'sidecar-http1': over(find(one, 'ours', 'HTTP/1.1'), find(one, 'ours', 'HTTP/2'), rate),
      ...Object.fromEntries(
        CLIENTS.map((clients) => {
          const hit = cell(`hit 64 MiB, ${counted(clients, 'client')}`);
          return [
            `sidecar-hit-${String(clients)}`,
            over(find(hit, 'ours', 'HTTP/1.1'), find(hit, 'go io.Copy', 'HTTP/1.1'), rate),
          ];
        }),
      ),
      'sidecar-miss': over(find(miss, 'ours', 'HTTP/1.1'), find(miss, 'go io.Copy', 'HTTP/1.1'), rate),
      'sidecar-miss-verified': over(find(miss, 'ours', 'HTTP/1.1'), find(miss, 'go, verified', 'HTTP/1.1'), rate),
    },
    notes: cells.flatMap(({ title, summaries }) =>
      summaries
        .filter(({ summary }) => summary.failures > 0)
        .map(
          ({ guarded, summary }) =>
            `${title}: ${String(summary.failures)} requests to ${guarded.name} by ${guarded.protocol} failed, one of them with: ${String(summary.failure)}`,
        ),
    ),
  };
}

function find(summaries: readonly GuardedSummary[], name: PeerName, protocol: Protocol): Summary | undefined {
  return summaries.find(({ guarded }) => guarded.name === name && guarded.protocol === protocol)?.summary;
}

function over(a: Summary | undefined, b: Summary | undefined, pick: (one: Summary) => number): number | undefined {
  return a === undefined || b === undefined || a.failures + b.failures > 0 ? undefined : pick(a) / pick(b);
}

function tableOf({ title, isSmall, summaries }: Cell): Table {
  return {
    title,
    columns: [
      'behind the sidecar',
      'protocol',
      isSmall ? 'requests/s' : 'MiB/s',
      'first byte, ms',
      isSmall ? 'CPU ms/request' : 'CPU s/GiB',
      isSmall ? 'sidecar, CPU ms/request' : 'sidecar, CPU s/GiB',
      'peak MiB',
      'sidecar, peak MiB',
      'failures',
    ],
    rows: summaries.map(({ guarded, summary, ...sidecar }) => [
      guarded.name,
      guarded.protocol,
      figure(isSmall ? summary.requestsPerSecond : summary.bytesPerSecond / MIB),
      figure(summary.firstByteMs),
      figure(isSmall ? summary.cpuMsPerRequest : summary.cpuSecondsPerGiB),
      figure(isSmall ? sidecar.sidecarCpuMsPerRequest : sidecar.sidecarCpuSecondsPerGiB),
      mebibytes(summary.peakBytes),
      mebibytes(sidecar.sidecarPeakBytes),
      String(summary.failures),
    ]),
  };
}
