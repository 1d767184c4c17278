/** Compares uncached packages of replicas whose bucket is silent or stalls with those of a replica without a bucket. */
import { randomFillSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digestHex, digestOf } from '../../src/domain/descriptor.ts';
import { ACCESS_KEY, BUCKET, FakeBucket, SECRET_KEY } from '../../test/support/fake-bucket.ts';
import { makeImage, type TestImage } from '../../test/support/image.ts';
import { writeImage } from '../bench-image.ts';
import { figure, median, MIB } from '../figures.ts';
import type { Origin } from '../peers/origin.ts';
import { ServiceHome } from '../peers/service.ts';
import type { Bench, Findings, Scenario } from '../scenario.ts';

const BYTES = 8 * MIB;
/** The packages are requested one after the other: the first waits for the failing bucket, and for the others the replica skips it. */
const PACKAGES = 4;

export const SICK_BUCKETS: Scenario = {
  name: 'sick-bucket',
  about:
    'One client requests four uncached packages of 8 MiB, one after the other, from a new replica in each round: without a bucket, with ' +
    'a bucket that accepts connections and does not answer, and with a bucket that stalls after half of a layer.',
  run: async (bench) => {
    const origin = await bench.startOrigin();
    if (origin === undefined) return { tables: [], measured: {} };
    const bucket = await FakeBucket.start();
    try {
      return await compare(bench, origin, bucket);
    } finally {
      await bucket.close();
    }
  },
};

const SICKNESSES = ['silent', 'stalling'] as const;
type Sickness = (typeof SICKNESSES)[number];
const KINDS = ['none', ...SICKNESSES] as const;

interface Times {
  readonly first: number[];
  readonly later: number[];
}

async function compare(bench: Bench, origin: Origin, bucket: FakeBucket): Promise<Findings> {
  const directory = await bench.workspace.folder('keys');
  await writeFile(join(directory, 'accessKeyID'), ACCESS_KEY);
  await writeFile(join(directory, 'secretAccessKey'), SECRET_KEY);
  const settings = { endpoint: bucket.endpoint.origin, name: BUCKET, credentials: { directory } };
  const times = Object.fromEntries(KINDS.map((kind) => [kind, { first: [], later: [] }])) as unknown as Record<
    (typeof KINDS)[number],
    Times
  >;
  let failed = 0;
  for (let round = 0; round < bench.effort.rounds; round++) {
    for (const kind of KINDS) {
      const images = await publishNew(bench, origin);
      if (kind !== 'none') for (const image of images) infect(bucket, kind, image);
      const registry = kind === 'none' ? {} : { registry: { bucket: settings } };
      const taken = await fetchEach(bench, { repo: origin.repo, ...registry }, images);
      failed += taken.filter((ms) => ms === undefined).length;
      const [first, ...later] = taken.map((ms) => ms ?? Infinity);
      times[kind].first.push(first ?? Infinity);
      times[kind].later.push(median(later));
    }
  }
  const laterBy = (kind: Sickness, which: keyof Times): number =>
    median(times[kind][which]) - median(times.none[which]);
  return {
    tables: [
      {
        title: 'cold 8 MiB, 1 client',
        columns: ['bucket', 'first, ms', 'worst first, ms', 'next, ms', 'worst next, ms'],
        rows: KINDS.map((kind) => [
          kind,
          ...[times[kind].first, times[kind].later].flatMap((all) => [figure(median(all)), figure(Math.max(...all))]),
        ]),
      },
    ],
    measured: {
      ...Object.fromEntries(
        SICKNESSES.flatMap((kind) => [
          [`bucket-${kind}-first`, laterBy(kind, 'first')],
          [`bucket-${kind}-next`, laterBy(kind, 'later')],
        ]),
      ),
      'bucket-sick-failures': failed,
    },
  };
}

async function publishNew(bench: Bench, origin: Origin): Promise<TestImage[]> {
  const folder = await bench.workspace.folder('images');
  const images = Array.from({ length: PACKAGES }, () => makeImage([randomFillSync(new Uint8Array(BYTES))]));
  for (const image of images) await origin.publish([await writeImage(folder, image)]);
  return images;
}

function infect(bucket: FakeBucket, sickness: Sickness, image: TestImage): void {
  const [layer, manifest] = [digestHex(image.layer.descriptor.digest), digestHex(image.digest)];
  bucket.publish(image);
  bucket.script(({ method, url }, response) => {
    const [isLayer, isManifest] = [url.endsWith(layer), url.endsWith(manifest)];
    if (sickness === 'silent') return isLayer || isManifest;
    if (!isLayer || method !== 'GET') return false;
    response.writeHead(200, { 'content-length': BYTES });
    response.write(image.layer.bytes.subarray(0, BYTES / 2));
    return true;
  });
}

/** Returns the milliseconds of each package; undefined for one that failed. */
async function fetchEach(
  bench: Bench,
  settings: Parameters<typeof ServiceHome.create>[2],
  images: readonly TestImage[],
): Promise<(number | undefined)[]> {
  const home = await ServiceHome.create(bench.workspace, bench.programs.service, settings);
  const { peer, base } = await home.start();
  try {
    const times: (number | undefined)[] = [];
    for (const { digest, layer } of images) {
      const began = performance.now();
      const response = await fetch(`${base}/package?digest=${digest}`);
      const bytes = new Uint8Array(await response.arrayBuffer());
      const ms = performance.now() - began;
      times.push(digestOf(bytes) === layer.descriptor.digest ? ms : undefined);
    }
    return times;
  } finally {
    await peer.process.end();
  }
}
