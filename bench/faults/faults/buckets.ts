/** A bucket before the registry fails or has wrong objects; clients still get what the registry has. */
import type { ServerResponse } from 'node:http';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestHex } from '../../../src/domain/descriptor.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { ACCESS_KEY, BUCKET, FakeBucket, SECRET_KEY } from '../../../test/support/fake-bucket.ts';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import type { Got } from '../traffic/client.ts';
import { tally } from '../traffic/swarm.ts';

const KIB = 1024;
const LAYER_BYTES = 8 * KIB * KIB;
const TICK_MS = 100;
const REQUESTS = 3;

const SICK: Fault = {
  id: 'F38',
  what: 'A bucket before the registry is healthy, refuses connections, resets them, does not answer, answers after 2 s, sends 100 KiB/s or 2 MiB/s, stalls in the middle, or refuses PUT.',
  expected: 'No request fails, no request takes 10 s, and no byte is wrong.',
  limitMs: 400_000,
  run: sicken,
};

const LYING: Fault = {
  id: 'F39',
  what: 'A bucket has wrong bytes for a layer (with the checksum of these bytes, without a checksum, or with the checksum of the right bytes), too few bytes, or another manifest. The service runs with and without a cache.',
  expected:
    'No response with wrong bytes completes. The second request gets the right bytes. Afterwards the bucket has the right object.',
  limitMs: 200_000,
  run: lie,
};

export const BUCKETS: readonly Fault[] = [SICK, LYING];

interface Sickness {
  readonly name: string;
  /** Answers a GET of a layer; absent when the bucket answers GET correctly. */
  readonly get?: (bytes: Uint8Array, response: ServerResponse) => void;
  readonly isClosed?: boolean;
  readonly takesNoPut?: boolean;
}

const SICKNESSES: readonly Sickness[] = [
  { name: 'healthy' },
  { name: 'refuses connections', isClosed: true },
  { name: 'resets', get: (_bytes, response) => response.socket?.destroy() },
  { name: 'does not answer', get: () => undefined },
  { name: 'answers after 2 s', get: (bytes, response) => setTimeout(() => response.end(bytes), 2000) },
  { name: '100 KiB/s', get: dripping(100 * KIB) },
  { name: '2 MiB/s', get: dripping(2 * KIB * KIB) },
  {
    name: 'stalls in the middle',
    get: (bytes, response) => {
      response.writeHead(200, { 'content-length': bytes.byteLength });
      response.write(bytes.subarray(0, bytes.byteLength / 2));
    },
  },
  { name: 'refuses PUT', takesNoPut: true },
];

function dripping(bytesPerSecond: number): NonNullable<Sickness['get']> {
  const piece = (bytesPerSecond * TICK_MS) / 1000;
  return (bytes, response) => {
    response.writeHead(200, { 'content-length': bytes.byteLength });
    let at = 0;
    const timer = setInterval(() => {
      response.write(bytes.subarray(at, at + piece));
      at += piece;
      if (at >= bytes.byteLength) response.end();
    }, TICK_MS);
    response.on('close', () => {
      clearInterval(timer);
    });
  };
}

async function sicken(bench: FaultBench): Promise<Seen> {
  const registry = await bench.startRegistry();
  const violations: string[] = [];
  const figures: string[] = [];
  for (const sickness of SICKNESSES) {
    const bucket = await startBucket(bench);
    const service = await startBehind(bench, bucket, { registry });
    if (sickness.isClosed === true) await bucket.close();
    const slowest: number[] = [];
    for (let request = 0; request < REQUESTS; request++) {
      const image = makeImage([bench.random.bytes(LAYER_BYTES)]);
      registry.publish(image);
      // A bucket that refuses PUT is empty.
      if (sickness.takesNoPut !== true) bucket.publish(image);
      infect(bucket, sickness, image);
      const { verdict, why, ms } = await service.get(image);
      slowest.push(Math.round(ms));
      if (verdict !== 'whole') violations.push(`${sickness.name}: ${verdict}, ${why}`);
      if (ms > 10_000) violations.push(`${sickness.name}: a request took ${String(Math.round(ms))} ms`);
    }
    figures.push(`${sickness.name} ${slowest.join(', ')}`);
  }
  return {
    injected: SICKNESSES.length * REQUESTS,
    figures: `milliseconds for each of ${String(REQUESTS)} packages of 8 MiB: ${figures.join('; ')}`,
    violations,
  };
}

function infect(bucket: FakeBucket, { get, takesNoPut = false }: Sickness, { layer }: TestImage): void {
  const key = digestHex(layer.descriptor.digest);
  bucket.script(({ method, url }, response) => {
    if (method === 'PUT') return takesNoPut;
    if (get === undefined || method !== 'GET' || !url.endsWith(key)) return false;
    get(layer.bytes, response);
    return true;
  });
}

interface Lie {
  readonly name: string;
  /** Stores the image in the bucket with one wrong object, and returns the digest of that object. */
  readonly tell: (bucket: FakeBucket, image: TestImage) => Digest;
}

const LIES: readonly Lie[] = [
  { name: 'wrong bytes with their own checksum', tell: (bucket, image) => forge(bucket, image, true) },
  { name: 'wrong bytes without a checksum', tell: (bucket, image) => forge(bucket, image, false) },
  {
    name: 'wrong bytes with the right checksum',
    tell: (bucket, image) => {
      const { digest } = image.layer.descriptor;
      bucket.rot(digest, image.layer.bytes, flipped(image.layer.bytes));
      return digest;
    },
  },
  {
    name: 'too few bytes',
    tell: (bucket, { layer }) => {
      bucket.put(layer.descriptor.digest, layer.bytes.subarray(0, layer.bytes.byteLength / 2), false);
      return layer.descriptor.digest;
    },
  },
  {
    name: 'another manifest',
    tell: (bucket, { digest, manifest }) => {
      bucket.put(digest, flipped(manifest.bytes), false);
      return digest;
    },
  },
];

function forge(bucket: FakeBucket, { layer }: TestImage, hasChecksum: boolean): Digest {
  bucket.put(layer.descriptor.digest, flipped(layer.bytes), hasChecksum);
  return layer.descriptor.digest;
}

function flipped(bytes: Uint8Array): Uint8Array {
  const other = bytes.slice();
  const middle = Math.floor(other.byteLength / 2);
  other[middle] = (other[middle] ?? 0) ^ 1;
  return other;
}

async function lie(bench: FaultBench): Promise<Seen> {
  const registry = await bench.startRegistry();
  const bucket = await startBucket(bench);
  const violations: string[] = [];
  const gots: Got[] = [];
  let healed = 0;
  const rounds = bench.times(2, 40);
  for (const enabled of [true, false]) {
    // A wrong object does not make the service pause the bucket, so the service reads each wrong object.
    const service = await startBehind(bench, bucket, { registry, settings: { store: { enabled } } });
    for (const { name, tell } of Array.from({ length: rounds }, () => LIES).flat()) {
      const image = makeImage([bench.random.bytes(LAYER_BYTES / 8)]);
      registry.publish(image);
      bucket.publish(image);
      const wrong = tell(bucket, image);
      const place = `${name}, ${enabled ? 'with' : 'without'} the cache`;
      const first = await service.get(image);
      const second = await service.get(image);
      gots.push(first, second);
      if (!['whole', 'cut', 'refused'].includes(first.verdict)) violations.push(`${place}: ${first.verdict}`);
      if (second.verdict !== 'whole') violations.push(`${place}, the second request: ${second.verdict}, ${second.why}`);
      const right = wrong === image.digest ? image.manifest.bytes : image.layer.bytes;
      const isHealed = await becomes(bucket, wrong, right);
      if (isHealed) healed++;
      else violations.push(`${place}: the object is not replaced`);
    }
  }
  const injected = rounds * LIES.length * 2;
  return { injected, figures: `${tally(gots)}; ${String(healed)} objects replaced`, violations };
}

async function becomes(bucket: FakeBucket, digest: Digest, bytes: Uint8Array): Promise<boolean> {
  return eventually(() => {
    const found = bucket.get(digest);
    const isRight = found !== undefined && Buffer.compare(found, bytes) === 0;
    return isRight ? Promise.resolve() : Promise.reject(new Error('not yet'));
  }).then(
    () => true,
    () => false,
  );
}

async function startBucket(bench: FaultBench): Promise<FakeBucket> {
  const bucket = await FakeBucket.start();
  bench.allowDial(bucket.endpoint.host);
  bench.onClear(() => bucket.close());
  return bucket;
}

async function startBehind(
  bench: FaultBench,
  bucket: FakeBucket,
  options: Parameters<FaultBench['startService']>[0] = {},
): Promise<FaultedService> {
  const directory = await bench.workspace.folder('keys');
  await writeFile(join(directory, 'accessKeyID'), ACCESS_KEY);
  await writeFile(join(directory, 'secretAccessKey'), SECRET_KEY);
  const { registry, settings = {} } = options;
  return bench.startService({
    ...options,
    settings: {
      ...settings,
      registry: {
        ...('registry' in settings && typeof settings.registry === 'object' ? settings.registry : {}),
        trustedRealms: registry === undefined || registry.tokenHost === '' ? [] : [registry.tokenHost],
        bucket: { endpoint: bucket.endpoint.origin, name: BUCKET, credentials: { directory } },
      },
    },
  });
}
