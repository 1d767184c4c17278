/** Many clients request one uncached package through nginx, which sends each package to one of three replicas. */
import { createImages } from '../bench-image.ts';
import { figure, MIB } from '../figures.ts';
import { startNginxBalancer } from '../peers/nginx.ts';
import { ServiceHome } from '../peers/service.ts';
import type { Bench, Findings, Scenario } from '../scenario.ts';

const BYTES = 64 * MIB;
const REPLICAS = 3;
const CLIENTS = 64;

export const BALANCED: Scenario = {
  name: 'balanced',
  about:
    '64 clients at once request one package of 64 MiB that is not cached, through nginx with examples/balancer/nginx.conf (without TLS) before ' +
    'three replicas. Each round uses a new package.',
  run,
};

async function run(bench: Bench): Promise<Findings> {
  const { nginx, service } = bench.programs;
  const origin = await bench.startOrigin();
  if (nginx === undefined || origin === undefined) return { tables: [], measured: {} };
  const images = await createImages(await bench.workspace.folder('images'), BYTES, bench.effort.longRounds);
  await origin.publish(images);
  const ports: number[] = [];
  while (ports.length < REPLICAS) {
    const { base } = await (await ServiceHome.create(bench.workspace, service, { origin })).start();
    ports.push(Number(new URL(base).port));
  }
  const balancer = await startNginxBalancer(nginx, bench.workspace, ports);
  const rows: string[][] = [];
  let [most, failed] = [0, 0];
  for (const image of images) {
    const urls = [`${balancer}/package?digest=sha256:${image.hex}`];
    const { seconds, failures } = await bench.load({
      urls,
      clients: CLIENTS,
      requests: CLIENTS,
      sha256: image.layer.hex,
    });
    const { manifests, blobs } = await origin.requestsFor(image);
    most = Math.max(most, manifests, blobs);
    failed += failures;
    rows.push([figure(seconds), String(manifests), String(blobs), String(failures)]);
  }
  return {
    tables: [
      {
        title: '64 clients on one cold 64 MiB, 3 replicas behind nginx',
        columns: ['total, s', 'manifests', 'blobs', 'failures'],
        rows,
      },
    ],
    measured: { 'balanced-fetches': failed === 0 ? most : undefined },
  };
}
