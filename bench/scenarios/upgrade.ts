/** Many nodes fetch a list of packages from a service with an empty cache behind its sidecar. The time is compared with its lower bound. */
import { Dice } from '../../test/support/dice.ts';
import { type BenchImage, createImage } from '../bench-image.ts';
import { figure, MIB } from '../figures.ts';
import type { LoadReport } from '../load-generator.ts';
import { HeldLink } from '../peers/held-link.ts';
import type { Origin } from '../peers/origin.ts';
import { ServiceHome } from '../peers/service.ts';
import { Sidecars } from '../peers/sidecar.ts';
import type { Bench, Findings, Scenario } from '../scenario.ts';

const NODES = 32;
/** 40 sizes from 1 to 100 MiB with a constant factor between neighbours: 890 MiB. */
const PACKAGES = Array.from({ length: 40 }, (_, index) => Math.round(MIB * 100 ** (index / 39)));
const SEED = 40;
const MEGABIT = 1e6 / 8;
const LINKS = [
  { id: 'upgrade-100', name: '100 Mbit/s', bytesPerSecond: 100 * MEGABIT },
  { id: 'upgrade-1000', name: '1 Gbit/s', bytesPerSecond: 1000 * MEGABIT },
];
const CALIBRATION_SECONDS = 10;

interface Run {
  readonly link: (typeof LINKS)[number];
  readonly report: LoadReport;
  /** The time of one copy of each package over the link. */
  readonly linkSeconds: number;
  /** The time of all copies at the sidecar's rate for cached packages. */
  readonly sidecarSeconds: number;
}

export const UPGRADE: Scenario = {
  name: 'upgrade',
  about:
    '32 nodes fetch 40 packages of 1 to 100 MiB, in the same order, from one service with an empty cache behind its sidecar. The ' +
    'registry is behind a link. The lower bound is the longer of two times, both measured after each run: ' +
    'the time of one copy of each package over the link, and the time of all copies at the rate of cached packages.',
  isLong: true,
  run: async (bench) => {
    const { 'kube-rbac-proxy': program, helm } = bench.programs;
    const origin = await bench.startOrigin();
    if (program === undefined || helm === undefined || origin === undefined) return { tables: [], measured: {} };
    const sidecars = await Sidecars.create(bench.workspace, program, helm);
    try {
      const folder = await bench.workspace.folder('images');
      const images: BenchImage[] = [];
      for (const bytes of inAnyOrder(PACKAGES)) images.push(await createImage(folder, bytes));
      await origin.publish(images);
      const runs: Run[] = [];
      for (const link of LINKS) runs.push(await upgrade(bench, sidecars, origin, images, link));
      return findings(runs);
    } finally {
      sidecars.close();
      await bench.workspace.clear();
    }
  },
};

/** Returns the sizes in a mixed order, which is the same in each run. */
function inAnyOrder(sizes: readonly number[]): number[] {
  const dice = new Dice(SEED);
  return sizes
    .map((size) => ({ size, place: dice.below(1_000_000) }))
    .sort((a, b) => a.place - b.place)
    .map(({ size }) => size);
}

async function upgrade(
  bench: Bench,
  sidecars: Sidecars,
  origin: Origin,
  images: readonly BenchImage[],
  link: (typeof LINKS)[number],
): Promise<Run> {
  const held = await HeldLink.start(origin, link.bytesPerSecond);
  const home = await ServiceHome.create(bench.workspace, bench.programs.service, { repo: held.repo });
  const { peer } = await home.start();
  const [first] = images;
  if (first === undefined) throw new Error('no package');
  const sidecar = await sidecars.start(new URL(peer.url(first)).origin, false);
  const urls = images.map(({ hex }) => `${sidecar.base}/package?digest=sha256:${hex}`);
  const nodes = { clients: NODES, secure: sidecar.secure };
  const report = await bench.load({ ...nodes, urls: [], plan: Array<string[]>(NODES).fill(urls) });
  const cached = await bench.load({ ...nodes, urls, cutOffSeconds: CALIBRATION_SECONDS });
  const direct = await bench.load({ urls: [], plan: [images.map((image) => held.peer.url(image))], clients: 1 });
  held.close();
  await Promise.all([peer.process.end(), sidecar.process.end()]);
  const failure = cached.failure ?? direct.failure;
  if (failure !== undefined) throw new Error(`the calibration failed: ${failure}`);
  const bytes = PACKAGES.reduce((sum, size) => sum + size);
  return {
    link,
    report,
    linkSeconds: direct.seconds,
    sidecarSeconds: (NODES * bytes * cached.seconds) / cached.bytes,
  };
}

function findings(runs: readonly Run[]): Findings {
  const ratioOf = ({ report, linkSeconds, sidecarSeconds }: Run): number =>
    report.seconds / Math.max(linkSeconds, sidecarSeconds);
  return {
    tables: [
      {
        title: '32 nodes, 40 packages',
        columns: [
          'link',
          'one copy over the link, s',
          'all copies from the sidecar, s',
          'total, s',
          'relative to the longer',
          'failures',
        ],
        rows: runs.map((run) => [
          run.link.name,
          figure(run.linkSeconds),
          figure(run.sidecarSeconds),
          figure(run.report.seconds),
          figure(ratioOf(run)),
          String(run.report.failures),
        ]),
      },
    ],
    measured: Object.fromEntries(
      runs.map((run) => [run.link.id, run.report.failures > 0 ? undefined : ratioOf(run)] as const),
    ),
    notes: runs.flatMap(({ link, report }) =>
      report.failure === undefined ? [] : [`${link.name}: one request failed with: ${report.failure}`],
    ),
  };
}
