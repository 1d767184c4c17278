/** The power fails after a clean stop: the disk has only the files that were synced. */
import { readdirSync, readFileSync, realpathSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { makeImage } from '../../../test/support/image.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import { swarm, tally } from '../traffic/swarm.ts';

const PACKAGES = 30;
const AT_ONCE = 8;
const LOSSES = ['emptied', 'zeros'] as const;

export const POWER_LOSS: Fault = {
  id: 'F29',
  what: 'The power fails after a clean stop. Cached files that were not synced are empty, or consist of as many zeros.',
  expected:
    'Each package is a hit with the right bytes, because the service syncs all files before it writes the marker of a clean stop.',
  async run(bench) {
    const seen: Seen[] = [];
    for (const how of LOSSES) seen.push(await losePower(bench, how));
    return {
      injected: seen.reduce((sum, { injected }) => sum + injected, 0),
      figures: seen.map(({ figures }) => figures).join('; '),
      violations: seen.flatMap(({ violations }) => violations),
    };
  },
};

async function losePower(bench: FaultBench, how: (typeof LOSSES)[number]): Promise<Seen> {
  const registry = await bench.startRegistry();
  const home = await bench.workspace.folder('service');
  const journal = join(home, 'synced');
  const imports = ['../validate/sync-witness.ts', '../validate/dial-witness.ts'].map((file) =>
    join(import.meta.dirname, file),
  );
  const environment = {
    NODE_OPTIONS: imports.map((file) => `--import=${pathToFileURL(file).href}`).join(' '),
    SYNC_JOURNAL: journal,
  };
  const service = await bench.startService({ registry, home, environment });
  const images = Array.from({ length: PACKAGES }, () =>
    makeImage([bench.random.bytes(bench.random.between(1, 500_000))]),
  );
  registry.publish(...images);
  const before = await swarm(images, AT_ONCE, (image) => service.get(image));
  await service.stop();
  const lost = forget(join(service.setup.cacheDirectory ?? '', 'v1/blobs/sha256'), journal, how);
  registry.withdraw(...images);
  await service.start();
  const after = await swarm(images, AT_ONCE, (image) => service.get(image));
  const failed = [...before, ...after].filter(({ verdict }) => verdict !== 'whole');
  return {
    injected: PACKAGES,
    figures: `${how}: ${String(lost)} files lost, then ${tally(after)}`,
    violations: [
      ...failed.map(({ verdict, why }) => `${verdict}: ${why}`),
      ...(lost === 0 ? [] : [`${String(lost)} files were not synced at a clean stop`]),
    ],
  };
}

/** Damages all files that were not synced; returns their number. */
function forget(blobs: string, journal: string, how: (typeof LOSSES)[number]): number {
  const synced = new Set(readFileSync(journal, 'utf8').split('\n'));
  const lost = readdirSync(blobs)
    .map((name) => join(realpathSync(blobs), name))
    .filter((path) => !synced.has(path));
  for (const path of lost) {
    const { atime, mtime, size } = statSync(path);
    writeFileSync(path, new Uint8Array(how === 'emptied' ? 0 : size));
    utimesSync(path, atime, mtime);
  }
  return lost.length;
}
