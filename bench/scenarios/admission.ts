/** Compares nodes that wait for a place with nodes that share the link from the start. */
import { createImage } from '../bench-image.ts';
import { figure, MIB } from '../figures.ts';
import type { LoadReport } from '../load-generator.ts';
import type { Bench, Scenario } from '../scenario.ts';

const NODES = 200;
const BYTES = 16 * MIB;
/** Below the highest speed of the service, so that the link is the bottleneck. */
const LINK_BYTES_PER_SECOND = 320 * MIB;
const WAYS = [
  // A tenth of a memory limit of 1Gi.
  { name: 'places for 14, others wait', maxSocketMemory: '102Mi' },
  { name: 'places for all', maxSocketMemory: '16Gi' },
];

export const ADMISSION: Scenario = {
  name: 'admission',
  about:
    '200 nodes request one cached package of 16 MiB at once, over a shared link of 320 MiB/s. A node that gets a 503 repeats its request after 1 s.',
  run: async (bench) => {
    const reports: LoadReport[] = [];
    for (const { maxSocketMemory } of WAYS) reports.push(await fetchByAll(bench, maxSocketMemory));
    const [waiting, sharing] = reports;
    return {
      tables: [
        {
          title: '200 nodes on one link',
          columns: ['', 'mean time of a node, s', 'time until all are done, s', 'repeated requests', 'failures'],
          rows: reports.map(({ finishedMeanMs, seconds, retried, failures }, index) => [
            WAYS[index]?.name ?? '',
            figure(finishedMeanMs / 1000),
            figure(seconds),
            String(retried),
            String(failures),
          ]),
        },
      ],
      measured:
        waiting === undefined || sharing === undefined || waiting.failures + sharing.failures > 0
          ? {}
          : {
              'admission-mean': waiting.finishedMeanMs / sharing.finishedMeanMs,
              'admission-all': waiting.seconds / sharing.seconds,
            },
    };
  },
};

async function fetchByAll(bench: Bench, maxSocketMemory: string): Promise<LoadReport> {
  const image = await createImage(await bench.workspace.folder('images'), BYTES);
  const [peer] = await bench.startPeers(['ours'], { cached: [image], origin: undefined, maxSocketMemory });
  if (peer === undefined) throw new Error('the service is missing');
  const urls = [peer.url(image)];
  await bench.load({ urls, clients: 1, requests: 1 });
  const report = await bench.load({
    urls,
    clients: NODES,
    requests: NODES,
    linkBytesPerSecond: LINK_BYTES_PER_SECOND,
    retries: true,
  });
  await bench.workspace.clear();
  return report;
}
