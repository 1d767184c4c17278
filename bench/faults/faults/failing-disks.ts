/** A disk fails now and then or becomes read-only, or the process cannot open more files. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { eventually } from '../../../test/support/eventually.ts';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Got } from '../traffic/client.ts';
import type { DiskFaults } from '../failpoints/disk-faults.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import type { ScriptedRegistry } from '../failpoints/registry/scripted-registry.ts';
import { swarm, tally } from '../traffic/swarm.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZES = [20 * KIB, 200 * KIB, 600 * KIB, 2 * MIB];
const AT_ONCE = 8;
/** About a third of the packages of a round. */
const MAX_BYTES = 8 * MIB;
/** The requests of a client while the disk cannot be read. */
const MAX_TRIES = 4;
/** After this time the service has read the changed rules. */
const RULES_MS = 60;

const ROUNDS: readonly [what: string, rules: DiskFaults][] = [
  ['EIO on read', { read: 0.05 }],
  ['EIO on write', { write: 0.1 }],
  ['ENOSPC on write', { full: 0.1 }],
  ['EIO on close', { close: 0.5 }],
  ['EIO on rename', { rename: 0.5 }],
  ['EMFILE on open', { open: 0.3 }],
  ['all of these errors', { read: 0.03, write: 0.03, full: 0.03, close: 0.1, rename: 0.1, open: 0.1 }],
];

export const FAILING_DISK: Fault = {
  id: 'F25',
  what: 'Calls to the file system fail: EIO on read, write, close and rename, ENOSPC, EMFILE. The cache becomes read-only.',
  expected:
    'All clients get the right bytes; where reads fail, at the fourth attempt at the latest. The process does not end. The service is not ready while the cache is read-only, and ready afterwards.',
  async run(bench) {
    const seen = [await flakyCalls(bench), await readOnly(bench), await fewDescriptors(bench)];
    return {
      injected: seen.reduce((sum, { injected }) => sum + injected, 0),
      figures: seen.map(({ figures }) => figures).join('; '),
      violations: seen.flatMap(({ violations }) => violations),
    };
  },
};

interface FaultyDisk {
  readonly registry: ScriptedRegistry;
  readonly service: FaultedService;
  /** Resolves when the service has read the rules. */
  readonly rule: (faults: DiskFaults) => Promise<void>;
}

async function startOnFaultyDisk(bench: FaultBench): Promise<FaultyDisk> {
  const registry = await bench.startRegistry();
  const home = await bench.workspace.folder('service');
  const rules = join(home, 'disk-faults.json');
  const imports = ['../failpoints/disk-faults.ts', '../validate/dial-witness.ts'].map((file) =>
    join(import.meta.dirname, file),
  );
  const service = await bench.startService({
    registry,
    home,
    maxBytes: MAX_BYTES,
    environment: {
      NODE_OPTIONS: imports.map((file) => `--import=${pathToFileURL(file).href}`).join(' '),
      DISK_FAULTS: rules,
      DISK_FAULTS_BELOW: join(home, 'cache/'),
    },
  });
  const rule = async (faults: DiskFaults): Promise<void> => {
    writeFileSync(rules, JSON.stringify(faults));
    await sleep(RULES_MS);
  };
  return { registry, service, rule };
}

async function flakyCalls(bench: FaultBench): Promise<Seen> {
  const { registry, service, rule } = await startOnFaultyDisk(bench);
  const violations: string[] = [];
  let injected = 0;
  const all: Got[] = [];
  for (const [what, faults] of ROUNDS) {
    const images = publish(bench, registry, bench.times(25, 1000));
    await rule(faults);
    // The client requests each package twice: first a miss, then a hit if the package could be cached.
    const gots = await swarm([...images, ...images], AT_ONCE, (image) => persist(service, image, faults));
    await rule({});
    violations.push(...failuresOf(what, gots));
    injected += gots.length;
    all.push(...gots);
  }
  return { injected, figures: `failing calls: ${tally(all)}`, violations };
}

/**
 * Repeats a request whose connection breaks. The service compares the bytes that it has sent with the second answer of the
 * registry. If the disk does not return the sent bytes, it cannot compare them and closes the connection.
 */
async function persist(service: FaultedService, image: TestImage, faults: DiskFaults): Promise<Got> {
  for (let tries = 1; ; tries++) {
    const got = await service.get(image);
    if (got.verdict !== 'cut' || faults.read === undefined || tries === MAX_TRIES) return got;
  }
}

async function readOnly(bench: FaultBench): Promise<Seen> {
  const { registry, service, rule } = await startOnFaultyDisk(bench);
  const kept = publish(bench, registry, 5);
  await swarm(kept, AT_ONCE, (image) => service.get(image));
  const cold = publish(bench, registry, 10);
  await withoutArrivals(service);
  await rule({ readOnly: 1 });
  const gots = await swarm([...kept, ...cold, ...kept], AT_ONCE, (image) => service.get(image));
  const during = await service.probe('/readyz');
  await rule({});
  const after = await service.probe('/readyz');
  gots.push(...(await swarm(cold, AT_ONCE, (image) => service.get(image))));
  return {
    injected: gots.length,
    figures: `read-only: ${tally(gots)}`,
    violations: [
      ...failuresOf('read-only', gots),
      ...(during.status === 503 ? [] : [`ready (${String(during.status)}) with a read-only cache`]),
      ...(after.status === 200 ? [] : [`not ready (${after.body.trim()}) after the cache became writable`]),
    ],
  };
}

/** The kernel refuses descriptors for files and sockets, so some clients get no answer. No client may get wrong bytes. */
async function fewDescriptors(bench: FaultBench): Promise<Seen> {
  const registry = await bench.startRegistry();
  const service = await bench.startService({ registry, maxBytes: MAX_BYTES });
  const images = publish(bench, registry, 40);
  const { sockets, cached, others } = service.descriptors();
  limitDescriptors(service, sockets + cached + others + 12);
  const squeezed = await swarm(images, images.length, (image) => service.get(image, { budgetMs: 20_000 }));
  limitDescriptors(service, 4096);
  const after = await swarm(images, AT_ONCE, (image) => service.get(image));
  return {
    injected: squeezed.length,
    figures: `${String(images.length)} clients while only 12 descriptors are free: ${tally(squeezed)}, afterwards ${tally(after)}`,
    violations: failuresOf('with enough descriptors', after),
  };
}

function limitDescriptors(service: FaultedService, files: number): void {
  execFileSync('prlimit', ['--pid', String(service.pid), `--nofile=${String(files)}:4096`]);
}

function publish(bench: FaultBench, registry: ScriptedRegistry, count: number): TestImage[] {
  const { random } = bench;
  const images = Array.from({ length: count }, () => makeImage([random.bytes(random.pick(SIZES))]));
  registry.publish(...images);
  return images;
}

async function withoutArrivals(service: FaultedService): Promise<void> {
  await eventually(async () => {
    if ((await service.metrics()).sum('downloads_in_flight') > 0) throw new Error('downloads still run');
  });
}

function failuresOf(what: string, gots: readonly Got[]): string[] {
  const failed = gots.filter(({ verdict }) => verdict !== 'whole');
  return failed.map(({ verdict, why, bytes }) => `${what}: ${verdict} behind ${String(bytes)} bytes: ${why}`);
}
