/** Registries that are overloaded and answer 429 or 5xx, with and without Retry-After. */
import { setTimeout as sleep } from 'node:timers/promises';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import type { Random } from '../traffic/random.ts';
import { refusing } from '../failpoints/registry/behaviours.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { swarm } from '../traffic/swarm.ts';

/** The service repeats a request for this long, while no byte of the answer is sent (registry.timeouts.retrySeconds). */
const PATIENCE_SECONDS = 5;
/** The most attempts within an outage of a second and a pause of a second. */
const ATTEMPTS_IN_OUTAGE = 3;
/** More refusals than the service gets within its time. */
const ENDLESS = 200;
/** Requests that were sent before the first answer arrive within this time. */
const ON_ITS_WAY_MS = 250;
const OUTAGE_MS = 1200;
/** The registries of a batch; each costs the service a TLS context. */
const AT_ONCE = 24;

/** The seconds of each Retry-After; undefined if it does not state any. A date is computed when it is sent. */
const PATIENCE: readonly (readonly [say: string | undefined, seconds: number | undefined])[] = [
  [undefined, undefined],
  ['soon', undefined],
  ['0', 0],
  ['1', 1],
  ['date', 1],
  ['86400', 60],
  ['9'.repeat(40), 60],
  ['past', 0],
];

interface Throttle {
  readonly status: number;
  readonly say: string | undefined;
  readonly seconds: number | undefined;
  /** The number of refusals before the registry recovers. */
  readonly burst: number;
  readonly place: 'manifest' | 'blob';
  readonly image: TestImage;
  readonly next: TestImage;
}

export const THROTTLING: Fault = {
  id: 'F7',
  what: 'The registry answers 429, 500, 502, 503 or 504 in bursts, with and without Retry-After (seconds, a date, an absurd value).',
  expected:
    'Requests succeed if the registry recovers within 5 s, else the answer is 502 or 503 with Retry-After. The service sends no request during a pause. After a 429 the pause applies to the whole registry, after any other status to one URL.',
  run: async (bench) => {
    const violations: string[] = [];
    const parts = await Promise.all([throttleEach(bench, violations), throttleMany(bench, violations)]);
    return {
      injected: parts.reduce((total, { injected }) => total + injected, 0),
      figures: parts.map(({ figures }) => figures).join('; '),
      violations,
    };
  },
};

/** Each burst has its own registry, because a pause applies to a whole registry. */
async function throttleEach(bench: FaultBench, violations: string[]): Promise<Omit<Seen, 'violations'>> {
  const throttles = [429, 500, 502, 503, 504].flatMap((status) =>
    PATIENCE.flatMap(([say, seconds]) =>
      [1, 2, ENDLESS].map((burst) => throttleOf(bench.random, { status, say, seconds, burst })),
    ),
  );
  const registries = await Promise.all(throttles.map(() => bench.startRegistry({ auth: 'anonymous' })));
  const entries = registries.map(({ entry }, index) => ({ ...entry, default: index === 0 }));
  const service = await bench.startService({ settings: { credentials: { registries: entries } } });
  const attempts = await swarm(throttles, AT_ONCE, async (throttle, index) => {
    const registry = registries[index];
    if (registry === undefined) throw new Error('a registry each');
    return throttleOne(service, registry, throttle, violations);
  });
  const total = attempts.reduce((sum, one) => sum + one, 0);
  return { injected: total, figures: `${String(throttles.length)} bursts, ${String(total)} refusals sent` };
}

function throttleOf(random: Random, fields: Pick<Throttle, 'status' | 'say' | 'seconds' | 'burst'>): Throttle {
  const place = random.pick(['manifest', 'blob'] as const);
  const [image, next] = [makeImage([random.bytes(5000)]), makeImage([random.bytes(5000)])];
  return { ...fields, place, image, next };
}

/** Resolves with the number of refusals that the registry sent. */
async function throttleOne(
  service: FaultedService,
  registry: ScriptedRegistry,
  { status, say, seconds, burst, place, image, next }: Throttle,
  violations: string[],
): Promise<number> {
  registry.publish(image, next);
  const pauses = new Pauses();
  const others = new Set<string | undefined>([next.digest, next.layer.descriptor.digest]);
  let refused = 0;
  registry.scriptAll((exchange) => {
    pauses.arrived();
    if (exchange.place !== place || others.has(exchange.digest) || exchange.attempt > burst) return undefined;
    refused++;
    pauses.asked(seconds ?? 0);
    return refusing(status, headerOf(say));
  });
  const query = { repository: registry.repo };
  const got = await service.get(image, { query });
  const tooLong = seconds !== undefined && seconds > PATIENCE_SECONDS;
  const recovers = burst !== ENDLESS && !tooLong;
  const asksPatience = status === 429 || (status === 503 && seconds !== undefined);
  const expected = recovers ? 200 : asksPatience ? 503 : 502;
  const isAsOften = tooLong ? refused === 1 : recovers ? refused === burst : refused > 1 && refused < ENDLESS;
  const what = `${String(status)}, Retry-After ${say ?? 'absent'}, ${String(burst)} times at ${place}`;
  const told = Number(got.headers['retry-after'] ?? -1);
  if (got.status !== expected) violations.push(`${what}: ${String(got.status)}, not ${String(expected)}`);
  if (!isAsOften) violations.push(`${what}: ${String(refused)} attempts were refused`);
  if (expected === 503 && (told < 0 || told > 60)) violations.push(`${what}: Retry-After ${String(told)}`);
  if (status !== 429) pauses.end();
  if (tooLong) {
    // The registry has recovered. After a 429 the service sends no request to it before the end of the pause; otherwise it may request other content.
    const asked = registry.requests('manifest', next.digest);
    const other = await service.get(next, { query });
    const isPatient = other.status === 503 && Number(other.headers['retry-after']) > PATIENCE_SECONDS;
    const isUnasked = registry.requests('manifest', next.digest) === asked;
    if (status === 429 ? !isPatient || !isUnasked : other.status !== 200) {
      violations.push(`${what}: ${String(other.status)} for other content`);
    }
  }
  if (pauses.broken > 0) violations.push(`${what}: ${String(pauses.broken)} requests during a pause`);
  return refused;
}

/** A registry that sends Retry-After to one client while others wait, and one that refuses many clients for a while. */
async function throttleMany(bench: FaultBench, violations: string[]): Promise<Omit<Seen, 'violations'>> {
  const registry = await bench.startRegistry({ auth: 'anonymous' });
  const service = await bench.startService({ registry });
  const images = Array.from({ length: bench.times(200, 1000) }, () => makeImage([bench.random.bytes(2000)]));
  const [scout, ...others] = Array.from({ length: images.length + 1 }, () => makeImage([bench.random.bytes(2000)]));
  if (scout === undefined) throw new Error('there is no image for the first client');
  registry.publish(...images, scout, ...others);
  let refused = 0;
  let intruders = 0;
  let until = 0;
  registry.scriptAll(() => {
    if (refused === 0) until = performance.now() + OUTAGE_MS;
    if (performance.now() > until) return undefined;
    refused++;
    return refusing(503, { 'retry-after': '1' });
  });
  const gots = await swarm(images, images.length, (image) => service.get(image));
  const limit = 1.2 * ATTEMPTS_IN_OUTAGE * images.length;
  if (refused > limit) violations.push(`${String(refused)} attempts of ${String(images.length)} clients`);

  const told = Promise.withResolvers<number>();
  registry.script(scout.manifest.descriptor.digest, ({ attempt }) => {
    if (attempt > 1) return undefined;
    told.resolve(performance.now());
    return refusing(429, { 'retry-after': '2' });
  });
  const first = service.get(scout);
  const toldAt = await told.promise;
  await sleep(ON_ITS_WAY_MS);
  registry.scriptAll(() => {
    if (performance.now() < toldAt + 2000) intruders++;
    return undefined;
  });
  gots.push(...(await swarm(others, others.length, (image) => service.get(image))), await first);
  const failed = gots.filter(({ verdict }) => verdict !== 'whole').length;
  if (failed > 0) violations.push(`${String(failed)} of ${String(gots.length)} failed though the registry recovered`);
  if (intruders > 0)
    violations.push(`${String(intruders)} requests during a pause that began with another client's request`);
  const figures = `${String(images.length)} clients during an outage of ${String(OUTAGE_MS)} ms: ${String(refused)} refusals; ${String(others.length)} clients during a pause: ${String(intruders)} requests`;
  return { injected: refused + 1, figures };
}

/** Counts the requests that come during a pause. */
class Pauses {
  #from = Infinity;
  #until = 0;
  broken = 0;

  asked(seconds: number): void {
    const now = performance.now();
    if (now > this.#until) this.#from = now + ON_ITS_WAY_MS;
    this.#until = Math.max(this.#until, now + 1000 * seconds);
  }

  /** Requests for other content may come. */
  end(): void {
    this.#until = 0;
  }

  arrived(): void {
    const now = performance.now();
    if (now > this.#from && now < this.#until) this.broken++;
  }
}

function headerOf(say: string | undefined): Record<string, string> {
  switch (say) {
    case undefined:
      return {};
    case 'date':
      // Whole seconds, because the Date of the answer has whole seconds.
      return { 'retry-after': new Date(Date.now() + 1000).toUTCString() };
    case 'past':
      return { 'retry-after': new Date(0).toUTCString() };
    default:
      return { 'retry-after': say };
  }
}
