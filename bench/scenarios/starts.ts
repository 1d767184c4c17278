/** The time from the start to the first answer, and the memory of the idle service. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type BenchImage, createImage, createImages } from '../bench-image.ts';
import { figure, KIB, mebibytes, median, MIB } from '../figures.ts';
import { ServiceHome } from '../peers/service.ts';
import type { Bench, Scenario } from '../scenario.ts';

/** The time until a process is at rest after its start. */
const SETTLE_MS = 2000;
const MEGABYTE = 1_000_000;
/** The number of files in the cache: a manifest and a layer for each image. */
const FILES = 10_000;

export const STARTS: readonly Scenario[] = [
  {
    name: 'idle',
    about:
      'The time from the start to the first 200, polled every 2 ms, and the memory 2 s later. The files are in the page cache.',
    run: async (bench) => {
      const image = await createImage(await bench.workspace.folder('images'), MIB);
      const home = await ServiceHome.create(bench.workspace, bench.programs.service);
      await home.fill([image]);
      const { rounds } = bench.effort;
      const healthz = await startRepeatedly(home, rounds);
      const cached = await startRepeatedly(home, rounds, image);
      const { peer } = await home.start();
      await sleep(SETTLE_MS);
      const resident = peer.process.residentBytes();
      await peer.process.end();
      return {
        tables: [
          {
            title: 'start and idle',
            columns: ['', 'median', 'worst'],
            rows: [
              ['first 200 of /healthz, ms', figure(median(healthz)), figure(Math.max(...healthz))],
              ['first 200 of a cached package, ms', figure(median(cached)), figure(Math.max(...cached))],
              ['resident when idle, MiB', mebibytes(resident), '–'],
            ],
          },
        ],
        measured: {
          idle: resident / MEGABYTE,
          'start-healthz': median(healthz),
          'start-package': median(cached),
        },
      };
    },
  },
  {
    name: 'restart',
    about:
      'The time from the start to the first 200 of a cached package, with a cache of 10 000 files after a clean stop.',
    run: async (bench) => {
      const times = await restartTimes(bench, FILES, bench.effort.rounds);
      return {
        tables: [
          {
            title: 'restart on 10 000 cached files',
            columns: ['', 'median', 'worst'],
            rows: [['first 200 of a cached package, ms', figure(median(times)), figure(Math.max(...times))]],
          },
        ],
        measured: { restart: median(times) },
      };
    },
  },
];

async function restartTimes(bench: Bench, files: number, rounds: number): Promise<number[]> {
  const images = await createImages(await bench.workspace.folder('images'), KIB, files / 2);
  const home = await ServiceHome.create(bench.workspace, bench.programs.service);
  await home.fill(images);
  return startRepeatedly(home, rounds, images.at(-1));
}

async function startRepeatedly(home: ServiceHome, rounds: number, awaited?: BenchImage): Promise<number[]> {
  const times: number[] = [];
  while (times.length < rounds) {
    const { peer, firstOkMs } = await home.start(awaited);
    times.push(firstOkMs);
    await peer.process.end();
  }
  return times;
}
