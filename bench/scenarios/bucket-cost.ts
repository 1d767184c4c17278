/** The processor time of a start and the idle memory, with and without a bucket in the settings. */
import { setTimeout as sleep } from 'node:timers/promises';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ACCESS_KEY, BUCKET, FakeBucket, SECRET_KEY } from '../../test/support/fake-bucket.ts';
import { figure, mebibytes, median, MIB } from '../figures.ts';
import { ServiceHome } from '../peers/service.ts';
import type { Bench, Findings, Scenario } from '../scenario.ts';

/** The time until a process is at rest after its start. */
const SETTLE_MS = 2000;
/** The starts of one configuration differ by more than the cost of a bucket, so many starts are compared. */
const STARTS_A_ROUND = 8;

export const BUCKET_COST: Scenario = {
  name: 'bucket-cost',
  about:
    'Processor time of the main thread until the first 200 of /healthz, and memory 2 s later, alternately ' +
    'with and without a bucket in the settings. `test/process/loaded-modules.test.ts` shows that a service without a bucket loads no module for buckets.',
  run: async (bench) => {
    const bucket = await FakeBucket.start();
    try {
      return await compare(bench, bucket);
    } finally {
      await bucket.close();
    }
  },
};

async function compare(bench: Bench, { endpoint }: FakeBucket): Promise<Findings> {
  const directory = await bench.workspace.folder('keys');
  await writeFile(join(directory, 'accessKeyID'), ACCESS_KEY);
  await writeFile(join(directory, 'secretAccessKey'), SECRET_KEY);
  const bucket = { endpoint: endpoint.origin, name: BUCKET, credentials: { directory } };
  const { service } = bench.programs;
  const [without, configured] = [
    await ServiceHome.create(bench.workspace, service),
    await ServiceHome.create(bench.workspace, service, { registry: { bucket } }),
  ].map((home) => ({ home, starts: [] as number[], resident: [] as number[] })) as [Cost, Cost];
  for (let round = 0; round < bench.effort.rounds * STARTS_A_ROUND; round++) {
    for (const cost of [without, configured]) {
      const { peer } = await cost.home.start();
      cost.starts.push(peer.process.mainThreadMs());
      if (round % STARTS_A_ROUND === 0) {
        await sleep(SETTLE_MS);
        cost.resident.push(peer.process.residentBytes());
      }
      await peer.process.end();
    }
  }
  const rows: [string, Cost][] = [
    ['without', without],
    ['a bucket', configured],
  ];
  return {
    tables: [
      {
        title: 'start and idle',
        columns: ['', 'CPU of the start, ms', 'resident when idle, MiB'],
        rows: rows.map(([name, { starts, resident }]) => [name, figure(median(starts)), mebibytes(median(resident))]),
      },
    ],
    measured: {
      'bucket-start': median(configured.starts) - median(without.starts),
      'bucket-idle': (median(configured.resident) - median(without.resident)) / MIB,
    },
  };
}

interface Cost {
  readonly home: ServiceHome;
  readonly starts: number[];
  readonly resident: number[];
}
