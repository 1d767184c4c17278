/** The route for images verifies a blob before it sends the first byte, because its clients read only the beginning and leave. */
import { makeImage } from '../../../test/support/image.ts';
import { closingAfter, holdingAfter, resettingAfter, stallingAfter } from '../failpoints/registry/behaviours.ts';
import type { Behaviour } from '../failpoints/registry/exchange.ts';
import type { Fault } from '../fault.ts';
import type { GetOptions } from '../traffic/client.ts';
import { swarm, tally } from '../traffic/swarm.ts';

const KIB = 1024;
const SIZES = [9, 40 * KIB, 300 * KIB, 2 * KIB * KIB];
const CLIENTS = 20;
const AT_ONCE = 4;
const IDLE_S = 1;

interface Failpoint {
  readonly name: string;
  /** The behaviour at each attempt, for the right bytes and wrong bytes of the same length. */
  readonly behaviour: (at: number, wrong: Uint8Array) => Behaviour;
}

const FAILPOINTS: readonly Failpoint[] = [
  { name: 'wrong bytes', behaviour: (at, wrong) => holdingAfter(at, Promise.resolve(), 'goes on', wrong) },
  { name: 'resets', behaviour: (at) => resettingAfter(at) },
  { name: 'early ends', behaviour: (at) => closingAfter(at) },
  { name: 'stalls', behaviour: (at) => stallingAfter(at) },
];

export const IMAGES: Fault = {
  id: 'F35',
  what: 'The registry sends wrong bytes, resets, ends early or stalls for ever while 20 clients wait for an image. Most of them leave after the first byte of the body.',
  expected:
    'No client gets a byte of the body. The next request, when the registry is honest again, gets the whole image; clients that leave then do not end the download.',
  run: async (bench) => {
    const { random } = bench;
    const registry = await bench.startRegistry();
    const timeouts = { headersSeconds: IDLE_S, idleSeconds: IDLE_S, retrySeconds: 1 };
    const service = await bench.startService({ registry, settings: { registry: { timeouts } } });
    const violations: string[] = [];
    const rounds = Array.from({ length: bench.times(5, 100) }, () =>
      FAILPOINTS.map((failpoint) => {
        const content = random.bytes(random.pick(SIZES));
        return { failpoint, content, at: random.between(0, content.byteLength) };
      }),
    ).flat();
    const gots = await swarm(rounds, AT_ONCE, async ({ failpoint: { name, behaviour }, content, at }) => {
      const image = makeImage([content]);
      const { digest } = image.layer.descriptor;
      const target = `/v1/images/deckhouse-cli/images/${image.digest}`;
      const wrong = content.map((byte, index) => (index < at ? byte : byte ^ 1));
      registry.publish(image);
      registry.script(digest, ({ place, offset }) =>
        place === 'blob' ? behaviour(Math.max(0, at - offset), wrong.subarray(offset)) : undefined,
      );
      const ask = (options: GetOptions) => service.getAt(service.port, image, { target, ...options });
      const leaving = Array.from({ length: CLIENTS }, (_, index) => ask(index === 0 ? {} : { leaveAfter: 1 }));
      const failed = await Promise.all(leaving);
      for (const { bytes, status, verdict } of failed) {
        if (bytes > 0 && status < 400)
          violations.push(`${name} at ${String(at)}: ${verdict} with ${String(bytes)} bytes`);
      }
      registry.script(digest, () => undefined);
      const left = await ask({ leaveAfter: 1 });
      const whole = await ask({});
      if (whole.verdict !== 'whole') violations.push(`${name}: ${whole.verdict} from an honest registry: ${whole.why}`);
      if (left.verdict !== 'left' && left.verdict !== 'whole') violations.push(`${name}: ${left.verdict}: ${left.why}`);
      registry.withdraw(image);
      return failed;
    });
    return {
      injected: rounds.length * CLIENTS,
      figures: `${String(FAILPOINTS.length)} kinds: ${tally(gots.flat())}, no client with a byte; then whole images from an honest registry`,
      violations,
    };
  },
};
