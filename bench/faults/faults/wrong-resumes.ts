/** A download breaks off, and the registry answers the request for the rest wrongly. */
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
  /** The kind of request that gets this behaviour. */
  readonly place: Place;
  readonly behaviour: (whole: Uint8Array, hosts: Hosts) => Behaviour;
  /** The expected verdict; `whole` if absent. */
  readonly becomes?: Allowed;
}

interface Hosts {
  readonly registry: ScriptedRegistry;
  /** The origin of another host, which has other bytes. */
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
    // A request that has fetched a new token after a refusal does not fetch a second one.
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
  what: 'After a reset, the registry answers the request for the rest with 200, another start, another total, no Content-Range, 416, 401, 403, a redirect to another host, or other bytes.',
  expected:
    'The client gets the right bytes if the next answer is right, else a visible failure. The other host gets no credential.',
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

/** A host that answers each request with a well-formed body, and reports each credential that it gets. */
async function startElsewhere(bench: FaultBench): Promise<string> {
  const elsewhere: ScriptedRegistry = await bench.startRegistry({ auth: 'anonymous' });
  elsewhere.scriptAll(({ request }) => {
    if (request.headers.authorization !== undefined) bench.report('the other host got a credential');
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const end = Number(last) + 1;
    return answering(part(new Uint8Array(end), Number(first), end));
  });
  return `http://127.0.0.1:${String(elsewhere.port)}`;
}

function ok(body: Uint8Array): Answer {
  return { status: 200, headers: { 'content-length': body.byteLength }, body };
}

/** An answer with the rest of the blob; `change` can replace its offset or total. */
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
