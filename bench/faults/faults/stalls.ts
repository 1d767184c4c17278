/** Registries from which nothing comes any more although the connection stays, or next to nothing. */
import { makeImage } from '../../../test/support/image.ts';
import type { GetOptions } from '../client.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import { drippingAfter, stallingAfter } from '../registry/behaviours.ts';
import type { Behaviour, Place } from '../registry/exchange.ts';
import { swarm, tally } from '../swarm.ts';

const KIB = 1024;
const SIZES = [40 * KIB, 200 * KIB, 600 * KIB];
const AT_ONCE = 64;
/** The longest wait in the settings of the service. */
const LIMIT_S = 1;
const ALLOWED_MS = (LIMIT_S + 1) * 1000;
const SLOW: GetOptions = { bytesPerSecond: 200 * KIB };

interface Stall {
  readonly name: string;
  readonly place: Place;
  /** Bytes of the body, as a share of it. */
  readonly behaviour: (bytes: number) => Behaviour;
  /** Another request can mend it: the head was there in time. */
  readonly isMended: boolean;
}

const STALLS: readonly Stall[] = [
  { name: 'no head of a manifest', place: 'manifest', behaviour: () => stallingAfter(-1), isMended: false },
  { name: 'no body of a manifest', place: 'manifest', behaviour: () => stallingAfter(0), isMended: false },
  { name: 'no head', place: 'blob', behaviour: () => stallingAfter(-1), isMended: false },
  { name: 'no body', place: 'blob', behaviour: () => stallingAfter(0), isMended: true },
  { name: 'nothing behind byte N', place: 'blob', behaviour: stallingAfter, isMended: true },
  { name: 'drops behind byte N', place: 'blob', behaviour: (bytes) => drippingAfter(bytes, 300), isMended: true },
];

export const STALLS_OF_REGISTRIES: Fault = {
  id: 'F6',
  what: 'the registry stalls: before the head, behind it, behind byte N, or sends a byte now and then; once or always; for fast and slow clients',
  expected:
    'noticed within the limit and 1 s; then a correct body from another request, 504, or a body that breaks off',
  run: stall,
};

async function stall(bench: FaultBench): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry();
  const timeouts = { connectSeconds: LIMIT_S, headersSeconds: LIMIT_S, idleSeconds: LIMIT_S };
  const services = await bench.startPair({ registry, settings: { registry: { timeouts } } });
  const violations: string[] = [];
  const noticed: number[] = [];
  const runs = Array.from({ length: bench.times(20, 1000) }, () =>
    STALLS.map((kind) => {
      const content = random.bytes(random.pick(SIZES));
      const options = random.chance(0.5) ? SLOW : {};
      return {
        kind,
        image: makeImage([content]),
        at: random.between(1, content.byteLength),
        options,
        isOnce: random.chance(0.5),
        service: random.pick(services),
      };
    }),
  ).flat();
  const gots = await swarm(runs, AT_ONCE, async ({ kind, image, at, options, isOnce, service }) => {
    const digest = kind.place === 'manifest' ? image.digest : image.layer.descriptor.digest;
    registry.publish(image);
    registry.script(digest, ({ place, attempt, offset }) =>
      place === kind.place && (attempt === 1 || !isOnce)
        ? timed(kind.behaviour(Math.max(0, at - offset)), noticed)
        : undefined,
    );
    const got = await service.get(image, options);
    registry.withdraw(image);
    const isExpected =
      kind.isMended && isOnce
        ? got.verdict === 'whole'
        : got.verdict === 'cut' || (got.verdict === 'refused' && got.status === 504);
    if (!isExpected) violations.push(`${kind.name}: ${got.verdict}, status ${String(got.status)}: ${got.why}`);
    return got;
  });
  const late = noticed.filter((ms) => ms > ALLOWED_MS);
  if (late.length > 0) violations.push(`${String(late.length)} stalls were noticed after ${String(ALLOWED_MS)} ms`);
  const slowest = (Math.max(...noticed) / 1000).toFixed(2);
  const figures = `${tally(gots)}; ${String(noticed.length)} stalls noticed within ${slowest} s, the limit being ${String(LIMIT_S)} s`;
  return { injected: noticed.length, figures, violations };
}

/** Notes how long the service waits for more. */
function timed(behaviour: Behaviour, noticed: number[]): Behaviour {
  return async (exchange) => {
    const began = performance.now();
    exchange.response.once('close', () => noticed.push(performance.now() - began));
    await behaviour(exchange);
  };
}
