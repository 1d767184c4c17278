/** Downloads that break off: by a reset, by an end that comes too early, once or again and again. */
import { makeImage } from '../../../test/support/image.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import { closingAfter, resettingAfter } from '../failpoints/registry/behaviours.ts';
import type { Behaviour } from '../failpoints/registry/exchange.ts';
import { tally } from '../traffic/swarm.ts';
import { runTrials, type Trial, unexpected } from '../traffic/trials.ts';

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
  expected: 'all bodies correct, at most two blob requests each',
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
  const makers = Array.from({ length: bench.times(1000, 20_000) }, () => {
    const size = random.pick(SIZES);
    const edges = [0, 1, 4095, 64 * KIB, Math.floor(size / 2), size - 1].filter((at) => at < size);
    const at = random.chance(0.5) ? random.pick(edges) : random.between(0, size);
    const content = random.fork();
    const service = random.pick(services);
    return (): Trial => ({
      name: `byte ${String(at)} of ${String(size)}`,
      service,
      image: makeImage([content.bytes(size)]),
      place: 'blob',
      failpoint: ({ place, attempt }) => (place === 'blob' && attempt === 1 ? breaking(at) : undefined),
      allowed: 'whole',
    });
  });
  const { gots, violations, requests } = await runTrials(registry, makers, AT_ONCE, (count) =>
    count > 2 ? `${String(count)} blob requests` : undefined,
  );
  const figures = `${tally(gots)}; ${(requests / makers.length).toFixed(2)} blob requests each`;
  return { injected: makers.length, figures, violations };
}

async function breakForGood(bench: FaultBench): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry();
  const services = await bench.startPair({ registry });
  const makers = Array.from({ length: bench.times(96, 2000) }, () => {
    const content = random.bytes(random.pick(SIZES));
    // Before the head, too.
    const at = random.chance(0.25) ? -1 : random.between(0, content.byteLength);
    const service = random.pick(services);
    return (): Trial => ({
      name: `always behind byte ${String(at)}`,
      service,
      image: makeImage([content]),
      place: 'blob',
      failpoint: ({ place, offset }) =>
        place === 'blob' ? resettingAfter(at < 0 ? at : Math.max(0, at - offset)) : undefined,
      allowed: (got) => {
        if (got.ms > GIVEN_UP_MS) return `given up after ${got.ms.toFixed(0)} ms`;
        return got.verdict === 'refused' && got.status !== 502
          ? `status ${String(got.status)}`
          : unexpected(got, 'failed');
      },
    });
  });
  const { gots, violations, requests: resets } = await runTrials(registry, makers, AT_ONCE);
  const slowest = Math.max(...gots.map(({ ms }) => ms)) / 1000;
  const figures = `${tally(gots)}; over in ${slowest.toFixed(1)} s at most, ${(resets / makers.length).toFixed(1)} requests each`;
  return { injected: resets, figures, violations };
}
