/** Cached files are lost or changed while the service is idle, busy or stopped. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../../../test/support/eventually.ts';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import { bundle } from '../bundle.ts';
import type { Got } from '../traffic/client.ts';
import { CONTENTS, LENGTHS, LOSSES, pathOf } from '../failpoints/damage.ts';
import type { Fault } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import type { FaultedService } from '../faulted-service.ts';
import { swarm, tally } from '../traffic/swarm.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZES = [4 * KIB, 100 * KIB, 100 * KIB, 200 * KIB, MIB];
const AT_ONCE = 8;
const FOLDERS = ['v1/blobs/sha256', 'v1/ingest', 'v1', ''];

const LOST_FILES: Fault = {
  id: 'F13',
  what: 'A cached file is deleted, made unreadable, or replaced by a link, a directory or a pipe, while a client reads it or not. Folders of the cache are removed.',
  expected: 'All clients get the right bytes.',
  limitMs: 180_000,
  async run(bench) {
    const { random } = bench;
    const registry = await bench.startRegistry();
    const service = await bench.startService({ registry });
    const cases = Array.from({ length: bench.times(500, 10_000) }, () => ({
      image: makeImage([random.bytes(random.pick(SIZES))]),
      how: random.pick(Object.keys(LOSSES) as (keyof typeof LOSSES)[]),
      isRead: random.chance(0.5),
    }));
    registry.publish(...cases.map(({ image }) => image));
    const gots = await swarm(cases, AT_ONCE, async ({ image, how, isRead }) => {
      await service.get(image);
      const lose = once(() => {
        LOSSES[how](pathOf(service, image));
      });
      if (!isRead) lose();
      const during = await service.get(image, { onBytes: lose });
      return [during, await service.get(image)];
    });
    const folders = FOLDERS.flatMap((folder) => [folder, folder]);
    for (const [index, folder] of folders.entries())
      gots.push(await loseFolder(service, folder, cases, index % 2 === 1));
    const damaged = (await service.metrics()).sum('cache_evictions_total', { reason: 'damaged' });
    // A running service still serves its open files. A restarted service reads the directory.
    await service.stop();
    await service.start();
    gots.push(await swarm(cases, AT_ONCE, ({ image }) => service.get(image)));
    return {
      injected: cases.length + folders.length,
      figures: `${tally(gots.flat())}; ${String(damaged)} lost files counted`,
      violations: failuresOf(gots.flat()),
    };
  },
};

const CHANGED_FILES: Fault = {
  id: 'F14',
  what: 'Cached files are truncated, extended, filled with NUL, or have a bit flipped: before a clean stop, after it, after a kill, and while the service runs.',
  expected:
    'No client gets a damaged file. The service finds a changed length when it opens the file, any damage when it opens a file after an unclean stop or after a change from outside, and a flipped bit within one scrub period.',
  limitMs: 180_000,
  async run(bench) {
    const registry = await bench.startRegistry();
    const violations: string[] = [];
    const figures: string[] = [];
    let injected = 0;
    const rounds: [
      how: string,
      damages: Damages,
      damage: (service: FaultedService, harm: () => void) => Promise<void>,
    ][] = [
      [
        'length changed before a clean stop',
        LENGTHS,
        async (service, harm) => {
          harm();
          await service.stop();
        },
      ],
      [
        'after a clean stop',
        { ...LENGTHS, ...CONTENTS },
        async (service, harm) => {
          await service.stop();
          harm();
        },
      ],
      [
        'after a kill',
        { ...LENGTHS, ...CONTENTS },
        async (service, harm) => {
          await service.kill();
          harm();
        },
      ],
    ];
    for (const [how, damages, damage] of rounds) {
      const { service, images } = await filled(bench, registry, SCRUB_OFF);
      await damage(service, harming(bench, service, images, damages));
      await service.start();
      const gots = await swarm(images, AT_ONCE, (image) => service.get(image));
      const found = (await service.metrics()).sum('cache_evictions_total', { reason: 'damaged' });
      if (found !== images.length) violations.push(`${how}: ${String(found)} of ${String(images.length)} found`);
      violations.push(...failuresOf(gots));
      injected += images.length;
      figures.push(`${how}: ${String(found)} of ${String(images.length)} found, ${tally(gots)}`);
    }
    const scrubbed = await scrubRound(bench, registry);
    return {
      injected: injected + scrubbed.injected,
      figures: [...figures, scrubbed.figures].join('; '),
      violations: [...violations, ...scrubbed.violations],
    };
  },
};

export const DAMAGED_FILES: readonly Fault[] = [LOST_FILES, CHANGED_FILES];

type Damages = Readonly<Record<string, (path: string) => void>>;
type Registry = Awaited<ReturnType<FaultBench['startRegistry']>>;

const SCRUB_OFF = 0;
const IMAGE_BYTES = 200 * KIB;
/** The scrub reads all images in about 4 s. */
const scrubRate = (images: number): number => (images * IMAGE_BYTES) / 4;

/** Flips bits of packages while the service runs and no client requests these packages. */
async function scrubRound(
  bench: FaultBench,
  registry: Registry,
): Promise<{ injected: number; figures: string; violations: string[] }> {
  const { service, images } = await filled(bench, registry, SCRUB_OFF);
  await service.stop();
  const store = { directory: 'cache', scrubRate: scrubRate(images.length) };
  await service.start({
    ...service.setup.settings,
    store: { ...(service.setup.settings as { store: object }).store, ...store },
  });
  // The scrub begins with the least recently used packages, which are the other half.
  const harmed = images.slice(images.length / 2);
  harming(bench, service, harmed, CONTENTS)();
  const began = performance.now();
  const limitMs = 8000;
  let found = 0;
  await eventually(async () => {
    found = (await service.metrics()).sum('cache_evictions_total', { reason: 'damaged' });
    if (found < harmed.length) throw new Error(`the scrub has found ${String(found)} of ${String(harmed.length)}`);
  }, limitMs);
  const seconds = (performance.now() - began) / 1000;
  const gots = await swarm(images, AT_ONCE, (image) => service.get(image));
  return {
    injected: harmed.length,
    figures: `while the service runs: ${String(found)} of ${String(harmed.length)} found in ${seconds.toFixed(1)} s by a scrub of 4 s, ${tally(gots)}`,
    violations: failuresOf(gots),
  };
}

/** Starts a service and requests all images, so that the first is the least recently used. */
async function filled(
  bench: FaultBench,
  registry: Registry,
  rate: number,
): Promise<{ service: FaultedService; images: TestImage[] }> {
  const main = bundle();
  const service = await bench.startService({
    registry,
    settings: { store: { scrubRate: rate } },
    ...(main !== undefined && { main }),
  });
  const images = Array.from({ length: bench.times(40, 500) }, () => makeImage([bench.random.bytes(IMAGE_BYTES)]));
  registry.publish(...images);
  for (const image of images) await service.get(image);
  return { service, images };
}

function harming(
  bench: FaultBench,
  service: FaultedService,
  images: readonly TestImage[],
  damages: Damages,
): () => void {
  const chosen = images.map((image) => ({ image, harm: bench.random.pick(Object.values(damages)) }));
  return () => {
    for (const { image, harm } of chosen) harm(pathOf(service, image));
  };
}

async function loseFolder(
  service: FaultedService,
  folder: string,
  cases: readonly { readonly image: TestImage }[],
  isRead: boolean,
): Promise<Got[]> {
  const images = cases.slice(0, AT_ONCE).map(({ image }) => image);
  const lose = once(() => {
    rmSync(join(service.setup.cacheDirectory ?? '', folder), { recursive: true, force: true });
  });
  if (!isRead) lose();
  const during = await swarm(images, AT_ONCE, (image) => service.get(image, { onBytes: lose }));
  return [...during, ...(await swarm(images, AT_ONCE, (image) => service.get(image)))];
}

function once(does: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) does();
    isDone = true;
  };
}

function failuresOf(gots: readonly Got[]): string[] {
  return gots.filter(({ verdict }) => verdict !== 'whole').map(({ verdict, why }) => `${verdict}: ${why}`);
}
