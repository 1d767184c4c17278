/** A download breaks off, and what the registry answers when it should go on is not what was asked for. */
import { makeImage } from '../../../test/support/image.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import { answering, redirecting, refusing, resettingAfter } from '../failpoints/registry/behaviours.ts';
import type { Answer, Behaviour, Place } from '../failpoints/registry/exchange.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { tally } from '../traffic/swarm.ts';
import { type Allowed, runTrials, type Trial } from '../traffic/trials.ts';

interface Shape {
  readonly name: string;
  /** The server that answers so. */
  readonly place: Place;
  readonly behaviour: (whole: Uint8Array, hosts: Hosts) => Behaviour;
  /** Whole when absent. */
  readonly becomes?: Allowed;
}

interface Hosts {
  readonly registry: ScriptedRegistry;
  /** The origin of another host, which has something else. */
  readonly elsewhere: string;
}

const KIB = 1024;
const SIZES = [70 * KIB, 300 * KIB, 700 * KIB];
const AT_ONCE = 16;

const SHAPES: readonly Shape[] = [
  { name: '200', place: 'storage', behaviour: (whole) => answering(ok(whole)) },
  { name: 'another start', place: 'storage', behaviour: (whole) => rest(whole, (offset) => ({ offset: offset + 1 })) },
  {
    name: 'another total',
    place: 'storage',
    behaviour: (whole) => rest(whole, () => ({ total: whole.byteLength + 1 })),
  },
  {
    name: 'no Content-Range',
    place: 'storage',
    behaviour: (whole) => answering((_, { offset }) => ({ ...ok(whole.subarray(offset)), status: 206 })),
  },
  {
    name: '416',
    place: 'storage',
    behaviour: (whole) => refusing(416, { 'content-range': `bytes */${String(whole.byteLength)}` }),
  },
  {
    name: '401',
    place: 'blob',
    behaviour: (_, { registry }) => refusing(401, { 'www-authenticate': registry.challenge }),
    // A request that had to fetch a token, because another one's was refused, does not fetch a second one.
    becomes: 'either',
  },
  { name: '403 of a signed URL', place: 'storage', behaviour: () => refusing(403) },
  {
    name: 'elsewhere',
    place: 'blob',
    behaviour: (_, { elsewhere }) => redirecting(`${elsewhere}/anything`),
    becomes: 'failed',
  },
  { name: 'other bytes', place: 'storage', behaviour: (whole) => rest(forged(whole)), becomes: 'failed' },
];

export const WRONG_RESUMES: Fault = {
  id: 'F2',
  what: 'behind a reset, the rest is answered by 200, another start, another total, no Content-Range, 416, 401, 403, a redirect elsewhere, other bytes',
  expected: 'a correct body where the next answer is right, else a visible failure; no credential elsewhere',
  run: resumeWrongly,
};

async function resumeWrongly(bench: FaultBench): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry({ hasStorage: true });
  const elsewhere = await startElsewhere(bench);
  const services = await bench.startPair({ registry });
  const makers = Array.from({ length: bench.times(100, 2000) }, () =>
    SHAPES.map((shape) => {
      const size = random.pick(SIZES);
      const at = random.between(1, size);
      const content = random.fork();
      const service = random.pick(services);
      return (): Trial => {
        const image = makeImage([content.bytes(size)]);
        const wrong = shape.behaviour(image.layer.bytes, { registry, elsewhere });
        return {
          name: shape.name,
          service,
          image,
          place: 'blob',
          failpoint: ({ place, attempt }) => {
            if (place === 'storage' && attempt === 1) return resettingAfter(at);
            return place === shape.place && attempt === 2 ? wrong : undefined;
          },
          allowed: shape.becomes ?? 'whole',
        };
      };
    }),
  ).flat();
  const { gots, violations } = await runTrials(registry, makers, AT_ONCE);
  return { injected: makers.length, figures: `${tally(gots)} in ${String(SHAPES.length)} shapes`, violations };
}

/** A host that has a body of the right form for everything, and must not be told any secret. */
async function startElsewhere(bench: FaultBench): Promise<string> {
  const elsewhere: ScriptedRegistry = await bench.startRegistry({ auth: 'anonymous' });
  elsewhere.scriptAll(({ request }) => {
    if (request.headers.authorization !== undefined) bench.report('a credential was sent elsewhere');
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const end = Number(last) + 1;
    return answering(part(new Uint8Array(end), Number(first), end));
  });
  return `http://127.0.0.1:${String(elsewhere.port)}`;
}

function ok(body: Uint8Array): Answer {
  return { status: 200, headers: { 'content-length': body.byteLength }, body };
}

/** The rest of the blob, or almost. */
function rest(whole: Uint8Array, change?: (offset: number) => { offset?: number; total?: number }): Behaviour {
  return answering((_, { offset: asked }) => {
    const { offset = asked, total = whole.byteLength } = change?.(asked) ?? {};
    return part(whole, offset, whole.byteLength, total);
  });
}

function part(whole: Uint8Array, start: number, end: number, total = whole.byteLength): Answer {
  const body = whole.subarray(start, end);
  const range = `bytes ${String(start)}-${String(end - 1)}/${String(total)}`;
  return { status: 206, headers: { 'content-length': body.byteLength, 'content-range': range }, body };
}

function forged(whole: Uint8Array): Uint8Array {
  return whole.map((byte) => byte ^ 1);
}
