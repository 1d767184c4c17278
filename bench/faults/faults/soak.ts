/** Many clients, many packages, a small cache and random faults, for a given time. */
import { setTimeout as sleep } from 'node:timers/promises';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Got } from '../traffic/client.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import { residentBytes } from '../validate/process-facts.ts';
import type { Random } from '../traffic/random.ts';
import {
  answering,
  closingAfter,
  delayedBy,
  honestly,
  refusing,
  resettingAfter,
  stallingAfter,
} from '../failpoints/registry/behaviours.ts';
import type { Behaviour, Exchange } from '../failpoints/registry/exchange.ts';
import { tally } from '../traffic/swarm.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const CLIENTS = 200;
const IMAGES = 2000;
/** Room for about an eighth of all images. */
const MAX_BYTES = 16 * MIB;
const FAULTY = 0.05;
/** The pause between two requests of a client. */
const MAX_REST_MS = 1000;
const SAMPLE_MS = 250;
/** After this share of the run, pools and heap have their final size. */
const WARM_UP = 0.4;
/** The growth that is allowed after the warm-up, by a fitted line; checked only in runs that are much longer than the warm-up. */
const MAX_GROWTH_BYTES = 32 * MIB;
const TELLING_MS = 180_000;

const what = `${String(CLIENTS)} clients request ${String(IMAGES)} packages; the frequency of the n-th package is proportional to 1/n. The cache has room for an eighth of them. ${String(FAULTY * 100)} % of the answers of the registry are faulty, and ${String(FAULTY * 100)} % of the clients leave early.`;
const expected = 'No byte is wrong. Memory does not grow. The number of descriptors is as before within 5 s.';

export const SOAKS: readonly Fault[] = [
  { id: 'soak', what, expected, run: (bench) => soak(bench, bench.times(12_000, 3_600_000)) },
  {
    id: 'soak10',
    what: `${what}: for ten minutes`,
    expected,
    isExtra: true,
    limitMs: 720_000,
    run: (bench) => soak(bench, 600_000),
  },
];

async function soak(bench: FaultBench, durationMs: number): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry();
  const images = Array.from({ length: IMAGES }, () => makeImage([random.bytes(random.between(2 * KIB, 128 * KIB))]));
  registry.publish(...images);
  const chance = random.fork();
  let injected = 0;
  registry.scriptAll(({ place }) => {
    if (!chance.chance(FAULTY)) return undefined;
    injected++;
    return place === 'token' ? refusing(503) : chance.pick(BEHAVIOURS)(chance);
  });
  const timeouts = { idleSeconds: 2, headersSeconds: 2 };
  const service = await bench.startService({ registry, maxBytes: MAX_BYTES, settings: { registry: { timeouts } } });
  const popularity = harmonic(IMAGES);
  const deadline = performance.now() + durationMs;
  const clients = Array.from({ length: CLIENTS }, async (): Promise<Got[]> => {
    const own = random.fork();
    const gots: Got[] = [];
    while (performance.now() < deadline) {
      await sleep(own.between(0, MAX_REST_MS));
      const image = wanted(images, popularity, own);
      const leaves = own.chance(FAULTY);
      if (leaves) injected++;
      gots.push(await service.get(image, leaves ? { leaveAfter: own.between(0, image.layer.descriptor.size) } : {}));
    }
    return gots;
  });
  const memory = await sampled(() => residentBytes(service.pid), deadline, durationMs);
  const gots = (await Promise.all(clients)).flat();
  const growth = growthOf(memory);
  const hits = gots.filter(({ headers }) => String(headers['cache-status']).endsWith('hit')).length;
  const visible = new Set(['whole', 'refused', 'cut', 'left']);
  return {
    injected,
    figures:
      `${String(gots.length)} requests in ${String(durationMs / 1000)} s: ${tally(gots)}; ` +
      `${((100 * hits) / gots.length).toFixed(0)} % hits; memory ${growth < 0 ? '−' : '+'}${(Math.abs(growth) / MIB).toFixed(1)} MiB`,
    violations: [
      ...gots.filter(({ verdict }) => !visible.has(verdict)).map(({ verdict, why }) => `${verdict}: ${why}`),
      ...(durationMs >= TELLING_MS && growth > MAX_GROWTH_BYTES
        ? [`memory grew by ${(growth / MIB).toFixed(1)} MiB after the warm-up`]
        : []),
    ],
  };
}

const BEHAVIOURS: readonly ((chance: Random) => Behaviour)[] = [
  (chance) => within(chance, resettingAfter),
  (chance) => within(chance, closingAfter),
  (chance) => within(chance, stallingAfter),
  () => resettingAfter(-1),
  () => refusing(500),
  () => refusing(404),
  () => refusing(429, { 'retry-after': '0' }),
  (chance) => delayedBy(chance.between(0, 1000), honestly),
  () => answering(({ body }) => ({ body: body.map((byte, at) => (at === body.byteLength - 1 ? byte ^ 1 : byte)) })),
];

/** A position in a body of any size. */
function within(chance: Random, breaking: (bytes: number) => Behaviour): Behaviour {
  const part = chance.between(0, 1000) / 1000;
  return (exchange: Exchange) => breaking(Math.floor(exchange.honest.body.byteLength * part))(exchange);
}

/** The sums of 1, 1/2, 1/3, … */
function harmonic(count: number): number[] {
  let sum = 0;
  return Array.from({ length: count }, (_, index) => (sum += 1 / (index + 1)));
}

function wanted(images: readonly TestImage[], popularity: readonly number[], random: Random): TestImage {
  const point = (random.between(0, 1_000_000) / 1_000_000) * (popularity.at(-1) ?? 0);
  return images[popularity.findIndex((sum) => sum > point)] ?? random.pick(images);
}

interface Sample {
  readonly at: number;
  readonly value: number;
}

/** Samples between the warm-up and the deadline. */
async function sampled(measure: () => number, deadline: number, durationMs: number): Promise<Sample[]> {
  const samples: Sample[] = [];
  await sleep(durationMs * WARM_UP);
  while (performance.now() < deadline) {
    samples.push({ at: performance.now(), value: measure() });
    await sleep(SAMPLE_MS);
  }
  return samples;
}

/** The growth of the least-squares line from the first sample to the last. */
function growthOf(samples: readonly Sample[]): number {
  const mean = (of: (sample: Sample) => number): number =>
    samples.reduce((sum, sample) => sum + of(sample), 0) / samples.length;
  const [at, value] = [mean((sample) => sample.at), mean((sample) => sample.value)];
  const covariance = mean((sample) => (sample.at - at) * (sample.value - value));
  const variance = mean((sample) => (sample.at - at) ** 2);
  return (covariance / variance) * ((samples.at(-1)?.at ?? 0) - (samples[0]?.at ?? 0));
}
