/** The wall clock jumps while downloads run and tokens are valid, and between two starts. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '../../../test/support/eventually.ts';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import { pacedAt, refusing } from '../failpoints/registry/behaviours.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';

const HOUR_MS = 3600_000;
const DAY_MS = 24 * HOUR_MS;
/** Offsets from the real clock. The last but one leads to the second day of 1970. */
const JUMPS_MS = [HOUR_MS, -HOUR_MS, DAY_MS, -DAY_MS, DAY_MS - Date.now(), 80 * 365 * DAY_MS];
const SHIFT = join(import.meta.dirname, '../failpoints/clock-shift.ts');
const KEPT = 10;
const NEWCOMERS = 5;
const PACKAGE_BYTES = 200_000;
/** Room for ten packages with their manifests. */
const MAX_BYTES = 2_500_000;

export const CLOCK_JUMPS: Fault = {
  id: 'F17',
  what: 'The wall clock of the process (its `Date`, no other clock) jumps by an hour, by a day, to 1970 and to 2106, while downloads run and tokens are valid, and between two starts.',
  expected:
    'All clients get the right bytes. The service fetches at most one token for each start. It obeys a Retry-After with a date. The order in which packages were used survives two restarts.',
  run: async (bench) => {
    const violations: string[] = [];
    const registry = await bench.startRegistry();
    const clock = await Clock.create(bench);
    const service = await bench.startService({ registry, maxBytes: MAX_BYTES, environment: clock.environment });
    const kept = Array.from({ length: KEPT }, () => imageOf(bench));
    registry.publish(...kept);
    const jumps = Array.from({ length: bench.times(12, 600) }, () => bench.random.pick(JUMPS_MS));
    for (const [index, jump] of jumps.entries()) {
      const known = bench.random.pick(kept);
      violations.push(...(await live(bench, { clock, registry, service }, jump, known, index % 6 === 0)));
    }

    const order = shuffled(bench, kept);
    // At the first restart the clock is behind, so all packages that are used then have earlier times.
    for (const [start, images] of [
      [DAY_MS, shuffled(bench, kept)],
      [-DAY_MS, order],
      [JUMPS_MS[4] ?? 0, []],
    ] as const) {
      await service.stop();
      await clock.set(start);
      await service.start();
      for (const image of images)
        violations.push(...(await wholeOf(service, image, 'a package that should be cached')));
    }
    violations.push(...(await expectOrder(bench, registry, service, order)));
    const tokens = registry.requests('token');
    if (tokens > 4) violations.push(`${String(tokens)} tokens over 4 starts`);
    return {
      injected: jumps.length + 3,
      figures: `${String(jumps.length)} jumps among downloads, 3 between starts; ${String(tokens)} tokens over 4 starts`,
      violations,
    };
  },
};

/** The clock jumps during a download. Then follow another download, a package that can be cached, and a Retry-After with a date. */
async function live(
  bench: FaultBench,
  { clock, registry, service }: { clock: Clock; registry: ScriptedRegistry; service: FaultedService },
  jump: number,
  known: TestImage,
  waits: boolean,
): Promise<string[]> {
  const [running, cold, patient] = [imageOf(bench), imageOf(bench), imageOf(bench)];
  registry.publish(running, cold, patient);
  registry.script(running.layer.descriptor.digest, () => pacedAt(PACKAGE_BYTES * 4));
  let refusedAt = 0;
  let askedAgainAt = 0;
  registry.script(patient.manifest.descriptor.digest, ({ attempt }) => {
    if (attempt > 1) {
      askedAgainAt = performance.now();
      return undefined;
    }
    refusedAt = performance.now();
    return refusing(503, { 'retry-after': new Date(Date.now() + 1000).toUTCString() });
  });
  const begun = Promise.withResolvers<undefined>();
  const first = wholeOf(service, running, 'a download during the jump', () => {
    begun.resolve(undefined);
  });
  await begun.promise;
  await clock.set(jump);
  await clock.tell(service);
  const found = await Promise.all([
    first,
    wholeOf(service, cold, 'a download after the jump'),
    wholeOf(service, known, 'a package that can be cached'),
  ]);
  if (!waits) return found.flat();
  // No other request runs meanwhile, because every request to this registry would wait.
  found.push(await wholeOf(service, patient, 'a package after a Retry-After with a date'));
  if (askedAgainAt - refusedAt < 990)
    found.push([`requested again after ${(askedAgainAt - refusedAt).toFixed(0)} ms, not after 1 s`]);
  registry.withdraw(running, cold, patient);
  return found.flat();
}

/** The store evicts the least recently used packages for new ones. */
async function expectOrder(
  bench: FaultBench,
  registry: ScriptedRegistry,
  service: FaultedService,
  order: readonly TestImage[],
): Promise<string[]> {
  const newcomers = Array.from({ length: NEWCOMERS }, () => imageOf(bench));
  registry.publish(...newcomers);
  const violations: string[] = [];
  for (const image of newcomers) violations.push(...(await wholeOf(service, image, 'a newcomer')));
  const isKept: boolean[] = [];
  // From the latest to the first: a request for an evicted package caches its manifest, which can evict the least recently used one.
  for (const image of order.toReversed()) {
    const { headers } = await service.get(image, { method: 'HEAD' });
    isKept.unshift(String(headers['cache-status']).endsWith('; hit'));
  }
  const gone = isKept.filter((is) => !is).length;
  if (gone < NEWCOMERS - 3 || gone > NEWCOMERS + 1)
    violations.push(`${String(gone)} packages were evicted for ${String(NEWCOMERS)} new ones`);
  if (isKept.lastIndexOf(false) > isKept.indexOf(true))
    violations.push(`the store did not evict the least recently used packages: ${isKept.join(', ')}`);
  return violations;
}

async function wholeOf(
  service: FaultedService,
  image: TestImage,
  what: string,
  onBytes?: () => void,
): Promise<string[]> {
  const { verdict, why, headers } = await service.get(image, onBytes && { onBytes });
  const { age } = headers;
  return [
    ...(verdict === 'whole' ? [] : [`${what}: ${verdict}, ${why}`]),
    ...(age === undefined || /^\d+$/.test(age) ? [] : [`${what}: an age of ${age}`]),
  ];
}

function imageOf({ random }: FaultBench): TestImage {
  return makeImage([random.bytes(PACKAGE_BYTES)]);
}

function shuffled({ random }: FaultBench, images: readonly TestImage[]): TestImage[] {
  const left = [...images];
  return images.flatMap(() => left.splice(random.between(0, left.length), 1));
}

class Clock {
  readonly #file: string;

  private constructor(file: string) {
    this.#file = file;
  }

  static async create({ workspace }: FaultBench): Promise<Clock> {
    const clock = new Clock(join(await workspace.folder('clock'), 'shift'));
    await clock.set(0);
    return clock;
  }

  get environment(): Record<string, string> {
    return { NODE_OPTIONS: `--import=${SHIFT}`, CLOCK_SHIFT_FILE: this.#file };
  }

  /** The offset from the real clock in milliseconds, for processes that start from now on. */
  async set(ms: number): Promise<void> {
    await writeFile(this.#file, String(ms));
  }

  /** Resolves when the running service has the same offset. */
  async tell(service: FaultedService): Promise<void> {
    const wanted = await readFile(this.#file, 'utf8');
    service.signal('SIGUSR2');
    await eventually(async () => {
      if ((await readFile(`${this.#file}.seen`, 'utf8')) !== wanted) throw new Error('the clock has not jumped');
    });
  }
}
