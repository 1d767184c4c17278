/** Checks whether the speed depends on the number of entries, downloads and readers. */
import { createImages } from '../bench-image.ts';
import { figure, KIB, mebibytes, median, MIB } from '../figures.ts';
import { ServiceHome } from '../peers/service.ts';
import type { Bench, Findings, Scenario, Table } from '../scenario.ts';
import { readSlowly } from './slow-readers.ts';

const ENTRIES = [100, 10_000, 100_000];
const FILL_CLIENTS = [1, 64, 512];
const READERS = [10, 200, 1000];
const LEAST_PACKAGES = 32;
const SAME_ROUNDS = 5;
/** A row is "not flat" if its last figure differs from the first by more than this share. */
const FLAT_WITHIN = 0.25;

export const GROWTH: readonly Scenario[] = [
  {
    name: 'growth-entries',
    about:
      'The cache holds 100, 10 000, 100 000 files. After the start, 64 clients request packages of 1 KiB in turn: each once, then all again.',
    isLong: true,
    run: async (bench) => {
      const steps = await inTurn(ENTRIES, (entries) => withEntries(bench, entries));
      const findings = growth('growth: entries in the cache', ENTRIES, [
        ['start to first 200, ms', steps.map(({ startMs }) => startMs)],
        ['first hits/s', steps.map(({ firstPerSecond }) => firstPerSecond)],
        ['hits/s', steps.map(({ hitsPerSecond }) => hitsPerSecond)],
        ['resident MiB', steps.map(({ residentMiB }) => residentMiB)],
      ]);
      const [first, last] = [steps[0], steps.at(-1)];
      return { ...findings, measured: { 'growth-hits': first && last && first.hitsPerSecond / last.hitsPerSecond } };
    },
  },
  {
    name: 'growth-fills',
    about:
      '1, 64, 512 clients at once request packages of 1 MiB that are not cached: each a package of its own, or all the same.',
    isLong: true,
    run: async (bench) => {
      const steps = await inTurn(FILL_CLIENTS, (clients) => fill(bench, clients));
      const found = steps.filter((step) => step !== undefined);
      if (found.length === 0) return { tables: [], measured: {} };
      return growth('growth: clients at once on cold packages of 1 MiB', FILL_CLIENTS, [
        ['a package for each: packages/s', found.map(({ packagesPerSecond }) => packagesPerSecond)],
        ['one for all: ms until all have it', found.map(({ sameMs }) => sameMs)],
        ['one for all: answers/s', found.map(({ sameMs }, index) => (1000 * (FILL_CLIENTS[index] ?? 0)) / sameMs)],
        ['failures', found.map(({ failures }) => failures)],
      ]);
    },
  },
  {
    name: 'growth-readers',
    about:
      '10, 200, 1 000 clients read one cached package of 256 MiB at 256 KiB/s each, until they are cut off after 8 s.',
    isLong: true,
    run: async (bench) => {
      const steps = await inTurn(READERS, async (readers) => (await readSlowly(bench, ['ours'], readers, 8))[0]);
      const above = steps.map((one) => (one ? one.peakBytes - one.idleBytes : Number.NaN));
      return growth('growth: slow readers', READERS, [
        ['above idle MiB', above.map((bytes) => bytes / MIB)],
        ['above idle KiB per reader', above.map((bytes, index) => bytes / KIB / (READERS[index] ?? 1))],
        ['pace kept, %', steps.map((one) => 100 * (one?.pace ?? Number.NaN))],
      ]);
    },
  },
];

async function inTurn<Result>(steps: readonly number[], run: (step: number) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = [];
  for (const step of steps) results.push(await run(step));
  return results;
}

interface EntriesStep {
  readonly startMs: number;
  /** Hits of packages that are requested for the first time since the start. */
  readonly firstPerSecond: number;
  readonly hitsPerSecond: number;
  readonly residentMiB: number;
}

async function withEntries(bench: Bench, entries: number): Promise<EntriesStep> {
  const { workspace, programs, effort, load } = bench;
  const images = await createImages(await workspace.folder('images'), KIB, entries / 2);
  const home = await ServiceHome.create(workspace, programs.service);
  await home.fill(images);
  const { peer, firstOkMs } = await home.start(images.at(-1));
  const urls = images.map((image) => peer.url(image));
  const first = await load({ urls, clients: 64, requests: urls.length });
  // Compiles the same code in each run, because few packages would cause fewer requests.
  await load({ urls, clients: 64, seconds: 2 });
  const { requests, seconds } = await load({ urls, clients: 64, seconds: 2 * effort.seconds });
  const residentMiB = Number(mebibytes(peer.process.residentBytes()));
  await workspace.clear();
  const firstPerSecond = first.requests / first.seconds;
  return { startMs: firstOkMs, firstPerSecond, hitsPerSecond: requests / seconds, residentMiB };
}

interface FillStep {
  readonly packagesPerSecond: number;
  readonly sameMs: number;
  readonly failures: number;
}

/** Starts a new service for each measurement; undefined without a registry. */
async function fill(bench: Bench, clients: number): Promise<FillStep | undefined> {
  const origin = await bench.startOrigin();
  if (origin === undefined) return undefined;
  // A few clients fetch several packages each, so that there is a mean.
  const different = Math.max(clients, LEAST_PACKAGES);
  const images = await createImages(await bench.workspace.folder('images'), MIB, different + SAME_ROUNDS + 1);
  await origin.publish(images);
  const [ours] = await bench.startPeers(['ours'], { origin });
  const urls = images.map((image) => ours?.url(image) ?? '');
  // The first request opens connections and compiles code, which is not measured.
  await bench.load({ urls: urls.splice(0, 1), clients: 1, requests: 1 });
  const same = await inTurn([...Array(SAME_ROUNDS).keys()], () =>
    bench.load({ urls: urls.splice(0, 1), clients, requests: clients }),
  );
  const each = await bench.load({ urls, clients, requests: different });
  await bench.workspace.clear();
  return {
    packagesPerSecond: each.requests / each.seconds,
    sameMs: 1000 * median(same.map(({ seconds }) => seconds)),
    failures: [each, ...same].reduce((sum, { failures }) => sum + failures, 0),
  };
}

function growth(title: string, steps: readonly number[], series: readonly (readonly [string, number[]])[]): Findings {
  const table: Table = {
    title,
    columns: ['', ...steps.map((step) => step.toLocaleString('en').replaceAll(',', ' ')), 'last / first', ''],
    rows: series.map(([name, values]) => {
      const change = (values.at(-1) ?? Number.NaN) / (values[0] ?? Number.NaN);
      const isFlat = Number.isNaN(change) || Math.abs(change - 1) <= FLAT_WITHIN;
      return [name, ...values.map(figure), figure(change), isFlat ? 'flat' : 'not flat'];
    }),
  };
  return { tables: [table], measured: {} };
}
