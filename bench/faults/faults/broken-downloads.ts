/** The registry resets or closes the connection of a download before its end, once or at each attempt. */
import { makeImage } from '../../../test/support/image.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import { closingAfter, resettingAfter } from '../failpoints/registry/behaviours.ts';
import type { Behaviour } from '../failpoints/registry/exchange.ts';
import { tally } from '../traffic/swarm.ts';
import { runTrials, type Trial, unexpected } from '../traffic/trials.ts';

const KIB = 1024;
/** Small bodies go through Node's HTTP parser, large ones bypass it. */
const SIZES = [9, 4096, 70 * KIB, 300 * KIB, 600 * KIB];
const AT_ONCE = 16;
const GIVEN_UP_MS = 35_000;

const ONE_RESET: Fault = {
  id: 'F1',
  what: 'The registry resets the connection once, after byte N of the layer.',
  expected: 'All clients get the right bytes. The service sends at most two requests for each layer.',
  run: (bench) => breakOnce(bench, resettingAfter),
};

const ONE_EARLY_END: Fault = {
  id: 'F4',
  what: 'The registry closes the connection once, with a normal TCP close, before the end of the layer.',
  expected: 'All clients get the right bytes. The service sends at most two requests for each layer.',
  run: (bench) => breakOnce(bench, closingAfter),
};

const ENDLESS_RESETS: Fault = {
  id: 'F1b',
  what: 'The registry resets the connection at every attempt, always after the same byte of the layer.',
  expected:
    'Within 35 s the client gets a 502, or a connection that breaks off if the body has begun. No temporary file or connection is left.',
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
  const figures = `${tally(gots)}; ${(requests / makers.length).toFixed(2)} requests for each layer`;
  return { injected: makers.length, figures, violations };
}

async function breakForGood(bench: FaultBench): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry();
  const services = await bench.startPair({ registry });
  const makers = Array.from({ length: bench.times(96, 2000) }, () => {
    const content = random.bytes(random.pick(SIZES));
    // Some resets come before the head of the response.
    const at = random.chance(0.25) ? -1 : random.between(0, content.byteLength);
    const service = random.pick(services);
    return (): Trial => ({
      name: `always after byte ${String(at)}`,
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
  const figures = `${tally(gots)}; the slowest failed after ${slowest.toFixed(1)} s; ${(resets / makers.length).toFixed(1)} requests for each layer`;
  return { injected: resets, figures, violations };
}
