/** Content whose digest or length is wrong. */
import { encode, makeBlob, makeImage, type TestImage } from '../../../test/support/image.ts';
import type { GetOptions } from '../traffic/client.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import type { Random } from '../traffic/random.ts';
import { answering, holdingAfter, saying } from '../failpoints/registry/behaviours.ts';
import type { Behaviour } from '../failpoints/registry/exchange.ts';
import { tally } from '../traffic/swarm.ts';
import { type Allowed, runTrials, type Trial } from '../traffic/trials.ts';

const KIB = 1024;
const SIZES = [9, 40 * KIB, 200 * KIB, 700 * KIB];
const FOLLOWERS = 50;
const AT_ONCE = 16;

const WRONG_DIGEST: Fault = {
  id: 'F3',
  what: 'The registry sends a body of the right length with wrong bytes, while 50 clients wait for it, some of them for a range.',
  expected:
    'All 50 clients fail visibly. Nothing is cached. The service counts each wrong body. The next request gets the right bytes.',
  run: forge,
};

const WRONG_LENGTH: Fault = {
  id: 'F5',
  what: 'The registry sends a body that is longer or shorter than announced, without Content-Length, chunked or empty, or a manifest with a wrong size of the layer.',
  expected: 'The client gets the right bytes or a visible failure.',
  run: stretch,
};

export const WRONG_CONTENT: readonly Fault[] = [WRONG_DIGEST, WRONG_LENGTH];

async function forge(bench: FaultBench): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry();
  const service = await bench.startService({ registry });
  const violations: string[] = [];
  const rounds = bench.times(30, 1000);
  const all: { readonly verdict: string }[] = [];
  for (let round = 0; round < rounds; round++) {
    const image = makeImage([random.bytes(random.pick(SIZES))]);
    const size = image.layer.bytes.byteLength;
    const forged = forgery(image.layer.bytes, random);
    const options = Array.from({ length: FOLLOWERS }, () => (random.chance(0.3) ? rangeOf(size, random) : {}));
    registry.publish(image);
    const joined = Promise.withResolvers<undefined>();
    registry.script(image.layer.descriptor.digest, ({ place, attempt }) =>
      place === 'blob' && attempt === 1
        ? holdingAfter(Math.floor(size / 2), joined.promise, 'goes on', forged)
        : undefined,
    );
    const before = service.answers.length;
    const clients = options.map((one) => service.get(image, one));
    await service.begun(before + FOLLOWERS);
    joined.resolve(undefined);
    const gots = await Promise.all(clients);
    all.push(...gots);
    for (const { verdict, why } of gots) {
      if (verdict !== 'cut' && verdict !== 'refused') violations.push(`${String(size)} bytes: ${verdict}, ${why}`);
    }
    const next = await service.get(image);
    if (next.verdict !== 'whole') violations.push(`the next request: ${next.verdict}, ${next.why}`);
    registry.withdraw(image);
  }
  const counted = (await service.metrics()).sum('digest_mismatch_total');
  if (counted !== rounds) violations.push(`${String(counted)} of ${String(rounds)} mismatches counted`);
  return { injected: rounds, figures: `${tally(all)}; ${String(counted)} mismatches counted`, violations };
}

function rangeOf(size: number, random: Random): GetOptions {
  const start = random.between(0, size);
  return { range: [start, random.between(start + 1, size + 1)] };
}

/** Flips one bit, or replaces all bytes from a random position on. */
function forgery(bytes: Uint8Array, random: Random): Uint8Array {
  const forged = bytes.slice();
  const at = random.between(0, forged.byteLength);
  const end = random.chance(0.5) ? at + 1 : forged.byteLength;
  for (let index = at; index < end; index++) forged[index] = (forged[index] ?? 0) ^ 1;
  return forged;
}

interface Shape {
  readonly name: string;
  readonly behaviour?: (whole: Uint8Array) => Behaviour;
  /** The wrong size in the manifest. */
  readonly announced?: (size: number) => number;
  readonly becomes: Allowed;
}

const SHAPES: readonly Shape[] = [
  {
    name: 'bytes after the end',
    behaviour: (whole) => saying(message(whole, `content-length: ${length(whole)}`, whole)),
    becomes: 'either',
  },
  { name: 'no length', behaviour: (whole) => saying(message(whole, 'connection: close')), becomes: 'whole' },
  {
    name: 'chunked',
    behaviour: (whole) => answering({ headers: { 'transfer-encoding': 'chunked' }, body: whole }),
    becomes: 'whole',
  },
  {
    name: 'chunked, without its end',
    behaviour: (whole) => saying(chunks(whole.subarray(0, whole.byteLength - 1))),
    becomes: 'either',
  },
  { name: 'chunked, longer', behaviour: (whole) => saying(chunks(doubled(whole), '0\r\n\r\n')), becomes: 'failed' },
  {
    name: 'no length, longer',
    behaviour: (whole) => saying(message(doubled(whole), 'connection: close')),
    becomes: 'failed',
  },
  {
    name: 'no length, shorter',
    behaviour: (whole) => saying(message(whole.subarray(1), 'connection: close')),
    becomes: 'failed',
  },
  { name: 'longer', behaviour: (whole) => answering(announced(doubled(whole))), becomes: 'failed' },
  { name: 'shorter', behaviour: (whole) => answering(announced(whole.subarray(1))), becomes: 'failed' },
  { name: 'empty', behaviour: () => answering(announced(new Uint8Array())), becomes: 'failed' },
  { name: 'manifest says 0', announced: () => 0, becomes: 'failed' },
  { name: 'manifest says one more', announced: (size) => size + 1, becomes: 'failed' },
  { name: 'manifest says one less', announced: (size) => size - 1, becomes: 'failed' },
  { name: 'manifest says 1 TiB', announced: () => 2 ** 40, becomes: 'failed' },
  {
    name: 'manifest says 0, and so it is',
    behaviour: () => answering(announced(new Uint8Array())),
    announced: () => 0,
    becomes: 'failed',
  },
];

async function stretch(bench: FaultBench): Promise<Seen> {
  const { random } = bench;
  const registry = await bench.startRegistry();
  const services = await bench.startPair({ registry });
  const makers = Array.from({ length: bench.times(20, 500) }, () =>
    SHAPES.map((shape) => {
      const service = random.pick(services);
      const size = random.pick(SIZES);
      const content = random.fork();
      return (): Trial => shapedTrial(shape, service, makeImage([content.bytes(size)]));
    }),
  ).flat();
  const { gots, violations } = await runTrials(registry, makers, AT_ONCE);
  return { injected: makers.length, figures: `${tally(gots)} in ${String(SHAPES.length)} shapes`, violations };
}

function shapedTrial(
  { name, behaviour, announced, becomes }: Shape,
  service: FaultedService,
  honest: TestImage,
): Trial {
  const { size } = honest.layer.descriptor;
  const image = announced === undefined ? honest : announcing(honest, announced(size));
  const wrong = behaviour?.(image.layer.bytes);
  // The service repeats a request at once if the previous answer on its connection was followed by extra bytes.
  const isAlways = becomes === 'failed';
  return {
    name: `${name}, ${String(size)} bytes`,
    service,
    image,
    place: 'blob',
    failpoint: ({ place, attempt }) => (place === 'blob' && (isAlways || attempt === 1) ? wrong : undefined),
    allowed: becomes,
  };
}

/** The same blobs with a manifest that states another size of the layer. */
function announcing({ manifest, ...image }: TestImage, size: number): TestImage {
  const content = JSON.parse(Buffer.from(manifest.bytes).toString()) as { layers: { size: number }[] };
  for (const layer of content.layers) layer.size = size;
  const blob = makeBlob(manifest.descriptor.mediaType, encode(content));
  return { ...image, manifest: blob, digest: blob.descriptor.digest };
}

function announced(body: Uint8Array): { headers: Record<string, number>; body: Uint8Array } {
  return { headers: { 'content-length': body.byteLength }, body };
}

function doubled(whole: Uint8Array): Uint8Array {
  return Buffer.concat([whole, whole]);
}

function length(bytes: Uint8Array): string {
  return String(bytes.byteLength);
}

function message(body: Uint8Array, field: string, excess: Uint8Array = new Uint8Array()): Uint8Array {
  return Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\n${field}\r\n\r\n`), body, excess]);
}

function chunks(body: Uint8Array, end = ''): Uint8Array {
  const size = body.byteLength === 0 ? '' : `${body.byteLength.toString(16)}\r\n`;
  return message(Buffer.concat([Buffer.from(size), body, Buffer.from(`\r\n${end}`)]), 'transfer-encoding: chunked');
}
