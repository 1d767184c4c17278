/** The time of a probe on a new connection while the service is busy. */
import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type BenchImage, createImages } from '../bench-image.ts';
import { figure, median, MIB } from '../figures.ts';
import { startManifestServer } from '../peers/manifest-server.ts';
import { ServiceHome, type ServiceSettings } from '../peers/service.ts';
import type { Bench, Scenario } from '../scenario.ts';

const DOWNLOADS = 300;
const MANIFESTS = 250;
const MANIFEST_BYTES = 4 * MIB;
const INTERVAL_MS = 20;
/** A probe without an answer within this time has failed. */
const TIMEOUT_MS = 30_000;

interface Probed {
  readonly load: string;
  readonly waits: readonly number[];
  readonly seconds: number;
  readonly answered: number;
  readonly failures: number;
  readonly failure: string | undefined;
}

export const PROBES: Scenario = {
  name: 'probes',
  about:
    'A probe of /healthz on a new connection every 20 ms, first while 300 clients at once fetch an uncached package of 1 MiB each, then while 250 clients at once fetch packages with manifests of 4 MiB.',
  run: async (bench) => {
    const downloads = await besideDownloads(bench);
    const manifests = await besideManifests(bench);
    const found = downloads === undefined ? [manifests] : [downloads, manifests];
    return {
      tables: [
        {
          title: 'probes under load',
          columns: ['beside', 'probe, ms, median', 'longest', 'load, s', 'answered', 'probes without 200'],
          rows: found.map(({ load, waits, seconds, answered, failures }) => [
            load,
            figure(median(waits)),
            figure(Math.max(...waits)),
            figure(seconds),
            String(answered),
            String(failures),
          ]),
        },
      ],
      notes: found
        .filter(({ failure }) => failure !== undefined)
        .map(({ load, failure }) => `${load}: one of the probes without 200: ${String(failure)}`),
      measured: {
        'probe-downloads': downloads && Math.max(...downloads.waits),
        'probe-manifests': Math.max(...manifests.waits),
      },
    };
  },
};

/** Undefined without a registry. */
async function besideDownloads(bench: Bench): Promise<Probed | undefined> {
  const origin = await bench.startOrigin();
  if (origin === undefined) return undefined;
  const images = await createImages(await bench.workspace.folder('images'), MIB, DOWNLOADS);
  await origin.publish(images);
  return probe(bench, `${String(DOWNLOADS)} cold downloads`, images, { origin });
}

async function besideManifests(bench: Bench): Promise<Probed> {
  const folder = await bench.workspace.folder('images');
  const server = await startManifestServer(folder, MANIFEST_BYTES, MANIFESTS);
  const credentials = { registries: [{ repo: server.repo, default: true, scheme: 'HTTP' }] };
  try {
    return await probe(bench, `${String(MANIFESTS)} manifests of 4 MiB`, server.images, { credentials });
  } finally {
    server.close();
  }
}

async function probe(
  bench: Bench,
  load: string,
  images: readonly BenchImage[],
  settings: ServiceSettings,
): Promise<Probed> {
  const home = await ServiceHome.create(bench.workspace, bench.programs.service, settings);
  const { peer } = await home.start();
  const urls = images.map((image) => peer.url(image));
  const loading = bench.load({ urls, clients: urls.length, requests: urls.length });
  const ended = loading.then(
    () => true,
    () => true,
  );
  const probes: Promise<number>[] = [];
  const url = `${new URL(urls[0] ?? '').origin}/healthz`;
  while (!(await Promise.race([ended, sleep(INTERVAL_MS, false)]))) probes.push(waitFor(url));
  const { seconds, requests, failures, failure } = await loading;
  const waits = await Promise.all(probes);
  await bench.workspace.clear();
  return { load, waits, seconds, answered: requests, failures, failure };
}

/** Resolves with the milliseconds until the head of the answer, on a new connection. */
function waitFor(url: string): Promise<number> {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false, timeout: TIMEOUT_MS }, (response) => {
      resolve(performance.now() - began);
      response.resume();
    });
    request.on('timeout', () => request.destroy(new Error('a probe was not answered')));
    request.on('error', reject);
  });
}
