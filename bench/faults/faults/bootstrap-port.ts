/** A hundred nodes fetch a program from the bootstrap port; the registry resets, sends wrong bytes or has a decompression bomb. */
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { archiveOf } from '../../../test/support/archive.ts';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import { bundle } from '../bundle.ts';
import { holdingAfter, resettingAfter } from '../failpoints/registry/behaviours.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import type { Got } from '../traffic/client.ts';
import { tally } from '../traffic/swarm.ts';
import { peakBytes, residentBytes, resetPeak } from '../validate/process-facts.ts';

const MIB = 1024 ** 2;
const NODES = 100;
const UUID = '0f0e6a2c-1f43-4c6c-a0f9-2c2b6d0c4c11';
const PROGRAM_BYTES = 12 * MIB;
/** The sources, which are compiled at the start, have a larger young generation before the first request. */
const MAX_PEAK_GROWTH = (bundle() === undefined ? 64 : 32) * MIB;
/** The unpacked zeros that V8 has not collected yet. */
const MAX_BOMB_GROWTH = 96 * MIB;
/** Attempts of a node that gets a Retry-After: a third of those of examples/bootstrap.sh. */
const ROUNDS = 10;
/** The size of the zeros before the program in the archive; compressed, they take a thousandth of it. */
const BOMB_BYTES = 1024 * MIB;

interface Bootstrap {
  readonly registry: ScriptedRegistry;
  readonly service: FaultedService;
  readonly port: number;
}

export const BOOTSTRAP_PORT: Fault = {
  id: 'F36',
  what: 'A hundred nodes with a hundred addresses fetch one program from the bootstrap port. The fault is repeated with a registry that resets in the middle of the layer, with one that sends wrong bytes, and with a layer that unpacks to 1 GiB of zeros before the program.',
  expected:
    'All nodes get the program from one download, also after a reset. Memory grows by at most 32 MiB. No node gets a byte of a wrong layer or of a layer that is too large. The request after the wrong layer gets the right one.',
  run: async (bench) => {
    const registry = await bench.startRegistry();
    const bootstrap = { listenAddress: '127.0.0.1:0', clusterUUID: UUID };
    // The chart's default is lower. With this value most nodes are served at their first request.
    const settings = { bootstrap, server: { maxSocketMemory: '256Mi' } };
    const main = bundle();
    const service = await bench.startService({ registry, settings, ...(main !== undefined && { main }) });
    const port = Number((await service.running.logged('bootstrap port is open'))['port']);
    const parts: Seen[] = [];
    for (const part of [honest, reset, forged, bomb]) parts.push(await part(bench, { registry, service, port }));
    return {
      injected: parts.reduce((total, { injected }) => total + injected, 0),
      figures: parts.map(({ figures }) => figures).join('; '),
      violations: parts.flatMap(({ violations }) => violations),
    };
  },
};

async function honest(bench: FaultBench, { registry, service, port }: Bootstrap): Promise<Seen> {
  // These two requests take the memory that any request takes; only growth beyond it counts.
  const ordinary = programImage(bench);
  registry.publish(ordinary.image);
  await service.get(ordinary.image);
  await fetchAll({ registry, service, port }, programImage(bench), 1);
  const before = residentBytes(service.pid);
  resetPeak(service.pid);
  const wanted = programImage(bench);
  const gots = await fetchAll({ registry, service, port }, wanted);
  const growth = peakBytes(service.pid) - before;
  const downloads = registry.requests('blob', wanted.image.layer.descriptor.digest);
  return {
    injected: NODES,
    figures: `${tally(gots)}, ${String(downloads)} download, memory grew by ${(growth / MIB).toFixed(0)} MiB`,
    violations: [
      ...failures('an honest registry', gots),
      ...(downloads === 1 ? [] : [`${String(downloads)} downloads for ${String(NODES)} nodes`]),
      ...(growth > MAX_PEAK_GROWTH ? [`memory grew by ${(growth / MIB).toFixed(0)} MiB`] : []),
    ],
  };
}

async function reset(bench: FaultBench, ends: Bootstrap): Promise<Seen> {
  const wanted = programImage(bench);
  const { digest, size } = wanted.image.layer.descriptor;
  ends.registry.script(digest, ({ place, attempt }) =>
    place === 'blob' && attempt === 1 ? resettingAfter(size / 2) : undefined,
  );
  const gots = await fetchAll(ends, wanted);
  return { injected: NODES, figures: `reset: ${tally(gots)}`, violations: failures('a reset', gots) };
}

async function forged(bench: FaultBench, ends: Bootstrap): Promise<Seen> {
  const wanted = programImage(bench);
  const { bytes, descriptor } = wanted.image.layer;
  // The archive is complete, but the digest of the layer is wrong.
  const wrong = Buffer.from(bytes);
  wrong[4] = (wrong[4] ?? 0) ^ 1;
  let isHonest = false;
  ends.registry.script(descriptor.digest, ({ place, offset }) =>
    place === 'blob' && !isHonest ? holdingAfter(0, Promise.resolve(), 'goes on', wrong.subarray(offset)) : undefined,
  );
  const gots = await fetchAll(ends, wanted);
  isHonest = true;
  const [next] = await fetchAll(ends, wanted, 1);
  return {
    injected: NODES,
    figures: `wrong bytes: ${tally(gots)}`,
    violations: [
      ...gots.filter(({ verdict }) => verdict !== 'refused').map(({ verdict }) => `wrong bytes: ${verdict}`),
      ...(next?.verdict === 'whole' ? [] : [`after wrong bytes: ${next?.verdict ?? ''} ${next?.why ?? ''}`]),
    ],
  };
}

async function bomb(bench: FaultBench, ends: Bootstrap): Promise<Seen> {
  const { service } = ends;
  const wanted = programImage(bench, MIB, BOMB_BYTES);
  const before = residentBytes(service.pid);
  resetPeak(service.pid);
  const gots = await fetchAll(ends, wanted);
  const growth = peakBytes(service.pid) - before;
  return {
    injected: NODES,
    figures: `1 GiB of zeros: ${tally(gots)}, memory grew by ${(growth / MIB).toFixed(0)} MiB`,
    violations: [
      ...gots.filter(({ verdict }) => verdict !== 'refused').map(({ verdict }) => `1 GiB of zeros: ${verdict}`),
      ...(growth > MAX_BOMB_GROWTH ? [`1 GiB of zeros: memory grew by ${(growth / MIB).toFixed(0)} MiB`] : []),
    ],
  };
}

interface Wanted {
  readonly image: TestImage;
  /** The expected answer of the client: the program takes the place of the package. */
  readonly program: TestImage;
}

function programImage(bench: FaultBench, size = PROGRAM_BYTES, zeros = 0): Wanted {
  const program = bench.random.bytes(size);
  const entries = [
    ...(zeros > 0 ? [{ path: 'zeros', content: Buffer.alloc(zeros) }] : []),
    { path: 'opt/deckhouse/bin/rpp-get', content: program },
  ];
  const image = makeImage([gzipSync(archiveOf(...entries), { level: 1 })]);
  return { image, program: { ...image, layer: { ...image.layer, bytes: program } } };
}

/** Each node has its own loopback address. */
async function fetchAll(
  { registry, service, port }: Bootstrap,
  { image, program }: Wanted,
  nodes = NODES,
): Promise<Got[]> {
  registry.publish(image);
  const target = `/${UUID}/rpp-get?digest=${image.digest}`;
  return Promise.all(
    Array.from({ length: nodes }, (_, index) =>
      fetchAsNode(() => service.getAt(port, program, { target, from: `127.0.1.${String(index + 1)}` })),
    ),
  );
}

/** Repeats a request after the Retry-After of the answer: on a slow machine the service has no free place for a while. */
async function fetchAsNode(ask: () => Promise<Got>): Promise<Got> {
  for (let round = 1; ; round++) {
    const got = await ask();
    const seconds = Number(got.headers['retry-after']);
    if (got.status !== 503 || !(seconds > 0) || round === ROUNDS) return got;
    await sleep(1000 * seconds);
  }
}

function failures(what: string, gots: readonly Got[]): string[] {
  return gots.filter(({ verdict }) => verdict !== 'whole').map(({ verdict, why }) => `${what}: ${verdict}, ${why}`);
}
