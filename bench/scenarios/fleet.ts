/** Compares the simulation of bench/fleet with 200 real clients, three services behind their sidecars, and a registry. */
import { type BenchImage, createImage } from '../bench-image.ts';
import { planUpgrade, type PlannedRates, type PlannedUpgrade, simulatePlanned } from '../fleet/planned.ts';
import { figure, MIB } from '../figures.ts';
import type { LoadReport } from '../load-generator.ts';
import { type Sidecar, Sidecars } from '../peers/sidecar.ts';
import { ServiceHome } from '../peers/service.ts';
import { REPOSITORY } from '../peers/registry-storage.ts';
import { SlowLink } from '../peers/slow-link.ts';
import type { Origin } from '../peers/origin.ts';
import type { Peer } from '../peers/peer.ts';
import type { Bench, Findings, Scenario } from '../scenario.ts';

const NODES = 200;
const MASTERS = 3;
/** 48 MiB for each node, so 9.4 GiB through the sidecars. This takes much longer than the handshakes, which the simulation ignores. */
const PACKAGES = [2, 16, 4, 10, 2, 8, 6].map((mebibytes) => mebibytes * MIB);
const SEED = 17;
/** Below the speed of one machine that runs all parts. */
const SLOW_REGISTRY = 16 * MIB;
const SLOW_MASTER = 80 * MIB;
const FAST = 1e12;
const CALIBRATION_SECONDS = 3;

interface Run {
  readonly name: string;
  readonly id: string;
  readonly rates: PlannedRates;
  readonly report: LoadReport;
  readonly simulatedSeconds: number;
}

interface Master {
  readonly peer: Peer;
  readonly sidecar: Sidecar;
}

interface Fleet {
  readonly bench: Bench;
  readonly sidecars: Sidecars;
  readonly origin: Origin;
  readonly images: readonly BenchImage[];
  readonly plan: PlannedUpgrade;
}

export const FLEET: Scenario = {
  name: 'fleet',
  about:
    'Compares the simulation of [scaling.md](scaling.md) with 200 clients that fetch seven packages, 48 MiB in all, from three ' +
    'services with empty caches behind their sidecars. In the first run the links are the limit: 16 MiB/s of the registry and 80 MiB/s of each service. ' +
    'In the second run the machine is the limit, which all parts share. Its rate is measured after each run: 200 clients read a cached package.',
  run: async (bench) => {
    const { 'kube-rbac-proxy': program, helm } = bench.programs;
    const origin = await bench.startOrigin();
    if (program === undefined || helm === undefined || origin === undefined) return { tables: [], measured: {} };
    const sidecars = await Sidecars.create(bench.workspace, program, helm);
    try {
      const folder = await bench.workspace.folder('images');
      const images: BenchImage[] = [];
      for (const bytes of PACKAGES) images.push(await createImage(folder, bytes));
      await origin.publish(images);
      return await compare({ bench, sidecars, origin, images, plan: planUpgrade(NODES, PACKAGES, SEED) });
    } finally {
      sidecars.close();
      await bench.workspace.clear();
    }
  },
};

async function compare(fleet: Fleet): Promise<Findings> {
  const runs = [
    await upgrade(fleet, 'links', 'fleet-links', { registry: SLOW_REGISTRY, master: SLOW_MASTER }),
    await upgrade(fleet, 'machine', 'fleet-machine', { registry: 2 * SLOW_REGISTRY, master: FAST }),
  ];
  const deviation = ({ simulatedSeconds, report }: Run): number => Math.abs(simulatedSeconds / report.seconds - 1);
  return {
    tables: [
      {
        title: '200 nodes, three masters',
        columns: [
          'the limit',
          'registry, MiB/s',
          'a master, MiB/s',
          'the machine, MiB/s',
          'measured, s',
          'simulated, s',
          'deviation, %',
          'failures',
        ],
        rows: runs.map((run) => [
          run.name,
          figure(run.rates.registry / MIB),
          run.rates.master === FAST ? '–' : figure(run.rates.master / MIB),
          figure(run.rates.machine / MIB),
          figure(run.report.seconds),
          figure(run.simulatedSeconds),
          figure(100 * deviation(run)),
          String(run.report.failures),
        ]),
      },
    ],
    measured: Object.fromEntries(
      runs.map((run) => [run.id, run.report.failures > 0 ? undefined : deviation(run)] as const),
    ),
    notes: runs.flatMap(({ name, report }) =>
      report.failure === undefined ? [] : [`${name}: one request failed with: ${report.failure}`],
    ),
  };
}

type Links = Omit<PlannedRates, 'machine'>;

async function upgrade(fleet: Fleet, name: string, id: string, links: Links): Promise<Run> {
  const { bench, origin, plan } = fleet;
  const link = await SlowLink.start(Number(new URL(origin.base).port), links.registry);
  const masters = await startMasters(fleet, link);
  const urls = plan.masters.map((choices) =>
    choices.map(
      (master, at) => `${String(masters[master]?.sidecar.base)}/package?digest=sha256:${fleet.images[at]?.hex ?? ''}`,
    ),
  );
  const secure = masters[0]?.sidecar.secure ?? { caPath: '', token: '', http2: false };
  const report = await bench.load({
    urls: [],
    plan: urls,
    clients: NODES,
    secure,
    ...(links.master !== FAST && { hostLinkBytesPerSecond: links.master }),
  });
  const machine = await measureMachine(fleet, masters);
  link.close();
  for (const { peer, sidecar } of masters) await Promise.all([peer.process.end(), sidecar.process.end()]);
  const rates = { ...links, machine };
  return { name, id, rates, report, simulatedSeconds: simulatePlanned(plan, rates).seconds };
}

async function startMasters({ bench, sidecars, images }: Fleet, link: SlowLink): Promise<Master[]> {
  const host = `127.0.0.1:${String(link.port)}`;
  const repo = `${host}/${REPOSITORY}`;
  const masters: Master[] = [];
  for (let index = 0; index < MASTERS; index++) {
    const home = await ServiceHome.create(bench.workspace, bench.programs.service, { repo });
    const { peer } = await home.start();
    const [image] = images;
    if (image === undefined) throw new Error('no package');
    masters.push({ peer, sidecar: await sidecars.start(new URL(peer.url(image)).origin, false) });
  }
  return masters;
}

/** Bytes per second of all masters together, when all clients on this machine read the largest package, which is cached. */
async function measureMachine({ bench, images }: Fleet, masters: readonly Master[]): Promise<number> {
  const [largest] = images.toSorted((a, b) => b.layer.size - a.layer.size);
  const [master] = masters;
  if (largest === undefined || master === undefined) throw new Error('no package or no master');
  const report = await bench.load({
    urls: masters.map(({ sidecar }) => `${sidecar.base}/package?digest=sha256:${largest.hex}`),
    clients: NODES,
    cutOffSeconds: CALIBRATION_SECONDS,
    secure: master.sidecar.secure,
  });
  if (report.failures > 0) throw new Error(`the calibration failed: ${String(report.failure)}`);
  return report.bytes / report.seconds;
}
