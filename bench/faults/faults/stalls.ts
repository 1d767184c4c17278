/** Registries that keep the connection but send no more bytes, or one byte now and then. */
import { makeImage } from '../../../test/support/image.ts';
import type { GetOptions } from '../traffic/client.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import { drippingAfter, stallingAfter } from '../failpoints/registry/behaviours.ts';
import type { Behaviour } from '../failpoints/registry/exchange.ts';
import { tally } from '../traffic/swarm.ts';
import { runTrials, type Trial, unexpected } from '../traffic/trials.ts';

const KIB = 1024;
const SIZES = [40 * KIB, 200 * KIB, 600 * KIB];
const AT_ONCE = 64;
/** The longest wait in the settings of the service. */
const LIMIT_S = 1;
const ALLOWED_MS = (LIMIT_S + 1) * 1000;
const SLOW: GetOptions = { bytesPerSecond: 200 * KIB };

interface Stall {
  readonly name: string;
  readonly place: Trial['place'];
  /** The registry stalls after this share of the body. */
  readonly behaviour: (bytes: number) => Behaviour;
  /** The head came in time, so another request can get the rest. */
  readonly isResumed: boolean;
}

const STALLS: readonly Stall[] = [
  { name: 'no head of a manifest', place: 'manifest', behaviour: () => stallingAfter(-1), isResumed: false },
  { name: 'no body of a manifest', place: 'manifest', behaviour: () => stallingAfter(0), isResumed: false },
  { name: 'no head', place: 'blob', behaviour: () => stallingAfter(-1), isResumed: false },
  { name: 'no body', place: 'blob', behaviour: () => stallingAfter(0), isResumed: true },
  { name: 'nothing after byte N', place: 'blob', behaviour: stallingAfter, isResumed: true },
  {
    name: 'single bytes after byte N',
    place: 'blob',
    behaviour: (bytes) => drippingAfter(bytes, 300),
    isResumed: true,
  },
];

export const STALLS_OF_REGISTRIES: Fault = {
  id: 'F6',
  what: 'The registry stalls before the head, after it or after byte N, or sends a byte now and then; once or always; for fast and slow clients.',
  expected:
    'The service notices the stall at most 1 s after its limit. Then the client gets the right body by another request, a 504, or a body that breaks off.',
  run: stall,
};

async function stall(bench: FaultBench): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry();
  const timeouts = { connectSeconds: LIMIT_S, headersSeconds: LIMIT_S, idleSeconds: LIMIT_S };
  const services = await bench.startPair({ registry, settings: { registry: { timeouts } } });
  const noticed: number[] = [];
  const makers = Array.from({ length: bench.times(20, 1000) }, () =>
    STALLS.map((stall) => {
      const content = random.bytes(random.pick(SIZES));
      const at = random.between(1, content.byteLength);
      const options = random.chance(0.5) ? SLOW : {};
      const isOnce = random.chance(0.5);
      const service = random.pick(services);
      return (): Trial => ({
        name: stall.name,
        service,
        image: makeImage([content]),
        place: stall.place,
        options,
        failpoint: ({ place, attempt, offset }) =>
          place === stall.place && (attempt === 1 || !isOnce)
            ? timed(stall.behaviour(Math.max(0, at - offset)), noticed)
            : undefined,
        allowed: (got) => {
          if (stall.isResumed && isOnce) return unexpected(got, 'whole');
          return got.verdict === 'refused' && got.status !== 504
            ? `status ${String(got.status)}`
            : unexpected(got, 'failed');
        },
      });
    }),
  ).flat();
  const { gots, violations } = await runTrials(registry, makers, AT_ONCE);
  const late = noticed.filter((ms) => ms > ALLOWED_MS);
  const tooLate = `${String(late.length)} stalls were noticed only after more than ${String(ALLOWED_MS)} ms`;
  const slowest = (Math.max(...noticed) / 1000).toFixed(2);
  const figures = `${tally(gots)}; ${String(noticed.length)} stalls noticed within ${slowest} s; the limit is ${String(LIMIT_S)} s`;
  return { injected: noticed.length, figures, violations: late.length > 0 ? [...violations, tooLate] : violations };
}

/** Records how long the service waits for the next byte. */
function timed(behaviour: Behaviour, noticed: number[]): Behaviour {
  return async (exchange) => {
    const began = performance.now();
    exchange.response.once('close', () => noticed.push(performance.now() - began));
    await behaviour(exchange);
  };
}
