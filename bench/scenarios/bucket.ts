/** A new replica gets a package of 64 MiB: with a bucket that has it, with an empty bucket, and without a bucket. */
import { stat } from 'node:fs/promises';
import { digestOf } from '../../src/domain/descriptor.ts';
import { eventually } from '../../test/support/eventually.ts';
import { BUCKET } from '../../test/support/fake-bucket.ts';
import { findProgram } from '../../test/support/peers/binaries.ts';
import { PeerBucket } from '../../test/support/peers/peer-bucket.ts';
import { type BenchImage, createImages } from '../bench-image.ts';
import { figure, median, MIB } from '../figures.ts';
import { type Origin } from '../peers/origin.ts';
import { ServiceHome } from '../peers/service.ts';
import { SlowLink } from '../peers/slow-link.ts';
import type { Bench, Findings, Scenario } from '../scenario.ts';

const BYTES = 64 * MIB;
/** The rate of the link to the registry, for all replicas together. */
const LINK_BYTES_PER_SECOND = 25_000_000;
const ROUND_TRIP_MS = 20;
const WRITE_MS = 60_000;

export const BUCKET_SCENARIO: Scenario = {
  name: 'bucket',
  about:
    'One client of a new replica requests a package of 64 MiB. The registry has a delay of 20 ms and a rate of 25 MB/s. The replica has no bucket, an empty ' +
    'bucket, a bucket that has the package, or such a bucket and no registry. The bucket is versitygw on this machine.',
  run,
};

interface Setting {
  readonly repo: string;
  readonly bucket: object | undefined;
}

async function run(bench: Bench): Promise<Findings> {
  const program = findProgram('versitygw');
  const origin = await bench.startOrigin();
  if (program === undefined || origin === undefined) return { tables: [], measured: {} };
  const link = await SlowLink.start(Number(new URL(origin.base).port), LINK_BYTES_PER_SECOND, ROUND_TRIP_MS);
  const peer = await PeerBucket.start('versitygw', program);
  try {
    return await compare(bench, origin, link, peer);
  } finally {
    await peer.close();
    link.close();
  }
}

async function compare(bench: Bench, origin: Origin, link: SlowLink, peer: PeerBucket): Promise<Findings> {
  const images = await createImages(await bench.workspace.folder('images'), BYTES, bench.effort.longRounds);
  await origin.publish(images);
  const repo = origin.repo.replace(origin.host, `127.0.0.1:${String(link.port)}`);
  const bucket = {
    endpoint: peer.endpoint.origin,
    name: BUCKET,
    credentials: { directory: await peer.keys() },
  };
  const times = { none: [] as number[], empty: [] as number[], warm: [] as number[], alone: [] as number[] };
  let asked = 0;
  for (const image of images) {
    times.none.push(await timed(bench, { repo, bucket: undefined }, image));
    times.empty.push(await timed(bench, { repo, bucket }, image, () => written(peer, image)));
    const before = await origin.requestsFor(image);
    times.warm.push(await timed(bench, { repo, bucket }, image));
    const after = await origin.requestsFor(image);
    asked += after.manifests + after.blobs - before.manifests - before.blobs;
  }
  link.close();
  let failed = 0;
  for (const image of images) {
    const ms = await timed(bench, { repo, bucket }, image).catch(() => undefined);
    if (ms === undefined) failed++;
    else times.alone.push(ms);
  }
  const rows: [string, number[]][] = [
    ['no bucket', times.none],
    ['an empty bucket', times.empty],
    ['a bucket that has the package', times.warm],
    ['a bucket that has the package, no registry', times.alone],
  ];
  return {
    tables: [
      {
        title: 'cold 64 MiB, 1 client, registry at 20 ms and 25 MB/s',
        columns: ['', 'median, ms', 'worst, ms'],
        rows: rows.map(([name, all]) => [name, figure(median(all)), figure(Math.max(...all))]),
      },
    ],
    measured: {
      'bucket-warm': median(times.warm) / median(times.none),
      'bucket-empty': median(times.empty) / median(times.none),
      'bucket-registry': asked,
      'bucket-failures': failed,
    },
  };
}

/** Returns the milliseconds that a client of a new replica waits for the whole package. `meanwhile` runs before the replica stops. */
async function timed(
  bench: Bench,
  { repo, bucket }: Setting,
  image: BenchImage,
  meanwhile: () => Promise<void> = () => Promise.resolve(),
): Promise<number> {
  const settings = { repo, ...(bucket !== undefined && { registry: { bucket } }) };
  const home = await ServiceHome.create(bench.workspace, bench.programs.service, settings);
  const { peer } = await home.start();
  try {
    const began = performance.now();
    const response = await fetch(peer.url(image));
    const bytes = new Uint8Array(await response.arrayBuffer());
    const ms = performance.now() - began;
    if (response.status !== 200 || digestOf(bytes) !== `sha256:${image.layer.hex}`) throw new Error('wrong answer');
    await meanwhile();
    return ms;
  } finally {
    await peer.process.end();
  }
}

async function written(peer: PeerBucket, { layer, manifest }: BenchImage): Promise<void> {
  await eventually(async () => {
    for (const { hex, size } of [manifest, layer]) {
      const found = await stat(peer.fileOfHex(hex));
      if (found.size !== size) throw new Error('not written yet');
    }
  }, WRITE_MS);
}
