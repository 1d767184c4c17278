/** The longest turn of the event loop, during which all clients wait, for the events with the most work. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeImage } from '../../test/support/image.ts';
import { createImage, largeJson, writeImage } from '../bench-image.ts';
import { longestSinceLastLook, longestTurn, longestTurnUntil } from '../event-loop.ts';
import { figure, MIB } from '../figures.ts';
import { startKubernetesLists } from '../peers/kubernetes-lists.ts';
import { ServiceHome } from '../peers/service.ts';
import type { Bench, Scenario } from '../scenario.ts';

const ENTRIES = 100_000;
/** Each small blob takes a block of 4 KiB. */
const CACHE_SIZE = '400Mi';
const LARGE_BYTES = 380 * MIB;
const LIST_BYTES = 64 * MIB;
const WITHIN_MS = 30_000;

export const TURNS: Scenario = {
  name: 'turns',
  about:
    'The longest turn of the event loop (nodejs_eventloop_lag_max_seconds minus the 10 ms of its period): a start with 100 000 ' +
    'entries, one download for which 97 000 of them are evicted, a request for a cached layer of 4 MiB of JSON as if it were a manifest, and a list of 64 MiB from the Kubernetes API.',
  run: async (bench) => {
    const { start, evict } = await startAndEvict(bench);
    const layer = await layerAsManifest(bench);
    const list = await kubernetesList(bench);
    const rows = [
      ['start on 100 000 entries', start],
      ['97 000 blobs evicted', evict],
      ['a cached layer requested as a manifest', layer],
      ['a Kubernetes list of 64 MiB', list],
    ] as const;
    return {
      tables: [
        {
          title: 'longest turns',
          columns: ['event', 'ms'],
          rows: rows.map(([event, ms]) => [event, ms === undefined ? '–' : figure(ms)]),
        },
      ],
      measured: { 'turn-start': start, 'turn-evict': evict, 'turn-layer': layer, 'turn-list': list },
    };
  },
};

async function startAndEvict(bench: Bench): Promise<{ start: number; evict: number | undefined }> {
  const origin = await bench.startOrigin();
  const settings = { cacheSize: CACHE_SIZE, ...(origin && { origin }) };
  const home = await ServiceHome.create(bench.workspace, bench.programs.service, settings);
  await home.fillBlobs(ENTRIES);
  const large = await createImage(await bench.workspace.folder('images'), LARGE_BYTES);
  await origin?.publish([large]);
  const { peer } = await home.start();
  const url = peer.url(large);
  const { origin: base } = new URL(url);
  const start = await longestSinceLastLook(base);
  const evict =
    origin &&
    (await longestTurn(base, () => bench.load({ urls: [url], clients: 1, requests: 1 }).then(assertAnswered)));
  await bench.workspace.clear();
  return { start, evict };
}

function assertAnswered({ failure }: { readonly failure?: string }): void {
  if (failure !== undefined) throw new Error(`the package was not sent: ${failure}`);
}

async function layerAsManifest(bench: Bench): Promise<number> {
  const json = new TextEncoder().encode(largeJson(4 * MIB, {}));
  const image = await writeImage(await bench.workspace.folder('images'), makeImage([json]));
  const [peer] = await bench.startPeers(['ours'], { cached: [image], origin: undefined });
  if (peer === undefined) throw new Error('the service is missing');
  const url = peer.url({ ...image, hex: image.layer.hex });
  const { origin: base } = new URL(url);
  // The first request compiles the code that all requests need.
  await fetch(`${base}/package?digest=sha256:${'0'.repeat(64)}`);
  const longest = await longestTurn(base, () => fetch(url));
  await bench.workspace.clear();
  return longest;
}

async function kubernetesList(bench: Bench): Promise<number> {
  const lists = await startKubernetesLists();
  const kubeconfig = join(await bench.workspace.folder('kubernetes'), 'kubeconfig');
  await writeFile(kubeconfig, lists.kubeconfig);
  try {
    const home = await ServiceHome.create(bench.workspace, bench.programs.service, {
      credentials: { source: 'kubernetes', kubernetes: { kubeconfig } },
    });
    const image = await createImage(await bench.workspace.folder('images'), 1024);
    const { peer } = await home.start();
    const { origin: base } = new URL(peer.url(image));
    await longestSinceLastLook(base);
    const objects = lists.grow(LIST_BYTES);
    const sign = new RegExp(`informer_objects\\{resource="modulesources"\\} ${String(objects)}$`, 'm');
    const longest = await longestTurnUntil(base, sign, WITHIN_MS);
    await bench.workspace.clear();
    return longest;
  } finally {
    lists.close();
  }
}
