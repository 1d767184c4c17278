/** Downloads that break off: by a reset, by an end that comes too early, once or again and again. */
import { makeImage } from '../../../test/support/image.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import { closingAfter, resettingAfter } from '../registry/behaviours.ts';
import type { Behaviour } from '../registry/exchange.ts';
import { swarm, tally } from '../swarm.ts';

const KIB = 1024;
/** Above what goes through the parser of HTTP, and below it. */
const SIZES = [9, 4096, 70 * KIB, 300 * KIB, 600 * KIB];
const AT_ONCE = 16;
const GIVEN_UP_MS = 35_000;

const ONE_RESET: Fault = {
  id: 'F1',
  what: 'the registry resets the connection behind byte N, once',
  expected: 'all bodies correct, at most two blob requests each',
  run: (bench) => breakOnce(bench, resettingAfter),
};

const ONE_EARLY_END: Fault = {
  id: 'F4',
  what: 'the registry closes the connection properly before the end, once',
  expected: 'as F1',
  run: (bench) => breakOnce(bench, closingAfter),
};

const ENDLESS_RESETS: Fault = {
  id: 'F1b',
  what: 'the registry resets the connection at every attempt, always behind the same byte',
  expected: '502 before the head, or a body that breaks off, within 35 s; nothing is left',
  run: breakForGood,
};

export const BROKEN_DOWNLOADS: readonly Fault[] = [ONE_RESET, ENDLESS_RESETS, ONE_EARLY_END];

async function breakOnce(bench: FaultBench, breaking: (bytes: number) => Behaviour): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry();
  const services = await bench.startPair({ registry });
  const violations: string[] = [];
  const runs = Array.from({ length: bench.times(1000, 20_000) }, () => {
    const size = random.pick(SIZES);
    const edges = [0, 1, 4095, 64 * KIB, Math.floor(size / 2), size - 1].filter((at) => at < size);
    const at = random.chance(0.5) ? random.pick(edges) : random.between(0, size);
    return { size, at, content: random.fork(), service: random.pick(services) };
  });
  let requests = 0;
  const gots = await swarm(runs, AT_ONCE, async ({ size, at, content, service }) => {
    const image = makeImage([content.bytes(size)]);
    registry.publish(image);
    const { digest } = image.layer.descriptor;
    registry.script(digest, ({ place, attempt }) => (place === 'blob' && attempt === 1 ? breaking(at) : undefined));
    const got = await service.get(image);
    const asked = registry.requests('blob', digest);
    registry.withdraw(image);
    requests += asked;
    if (got.verdict !== 'whole') violations.push(`byte ${String(at)} of ${String(size)}: ${got.verdict}, ${got.why}`);
    if (asked > 2) violations.push(`byte ${String(at)} of ${String(size)}: ${String(asked)} blob requests`);
    return got;
  });
  const figures = `${tally(gots)}; ${(requests / runs.length).toFixed(2)} blob requests each`;
  return { injected: runs.length, figures, violations };
}

async function breakForGood(bench: FaultBench): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry();
  const services = await bench.startPair({ registry });
  const violations: string[] = [];
  const runs = Array.from({ length: bench.times(96, 2000) }, () => {
    const content = random.bytes(random.pick(SIZES));
    // Before the head, too.
    const at = random.chance(0.25) ? -1 : random.between(0, content.byteLength);
    return { image: makeImage([content]), at, service: random.pick(services) };
  });
  let resets = 0;
  const gots = await swarm(runs, AT_ONCE, async ({ image, at, service }) => {
    registry.publish(image);
    const { digest } = image.layer.descriptor;
    registry.script(digest, ({ place, offset }) =>
      place === 'blob' ? resettingAfter(at < 0 ? at : Math.max(0, at - offset)) : undefined,
    );
    const got = await service.get(image);
    resets += registry.requests('blob', digest);
    registry.withdraw(image);
    const isVisible = got.verdict === 'cut' || (got.verdict === 'refused' && got.status === 502);
    if (!isVisible) violations.push(`${got.verdict}, status ${String(got.status)}: ${got.why}`);
    if (got.ms > GIVEN_UP_MS) violations.push(`given up after ${String(got.ms)} ms`);
    return got;
  });
  const slowest = Math.max(...gots.map(({ ms }) => ms)) / 1000;
  const figures = `${tally(gots)}; over in ${slowest.toFixed(1)} s at most, ${(resets / runs.length).toFixed(1)} requests each`;
  return { injected: resets, figures, violations };
}
