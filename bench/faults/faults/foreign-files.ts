/** A cache directory that holds files of other programs. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { digestHex } from '../../../src/domain/descriptor.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { makeImage, type TestImage } from '../../../test/support/image.ts';
import type { Fault } from '../fault.ts';
import type { Random } from '../traffic/random.ts';
import { bundle } from '../bundle.ts';
import { swarm, tally } from '../traffic/swarm.ts';

const KIB = 1024;
const TEMPORARIES = 10_000;
const MAX_START_MS = 2000;

export const FOREIGN_FILES: Fault = {
  id: 'F15',
  what: 'The cache directory holds files of other programs: files, folders, links, devices, pipes, 10 000 temporary files, and files with the name of a blob but other bytes.',
  expected:
    'The service starts within 2 s, or within twice the time of a start without these files, and serves packages.',
  async run(bench) {
    const { random, workspace } = bench;
    const registry = await bench.startRegistry();
    const home = await workspace.folder('service');
    const images = Array.from({ length: 10 }, () => makeImage([random.bytes(200 * KIB)]));
    registry.publish(...images);
    const { foreign, forged } = populate(join(home, 'cache/v1'), images, random);
    const main = bundle();
    const program = main === undefined ? {} : { main };
    // The time of a start without these files, on this machine under its current load.
    const clean = await bench.startService({ registry, ...program });
    await clean.stop();
    const limitMs = Math.max(MAX_START_MS, 2 * clean.readyMs);
    const service = await bench.startService({ registry, home, ...program });
    const { readyMs } = service;
    const gots = await swarm([...images, ...images], 4, (image) => service.get(image));
    // A request or the scrub finds a file that has the name of a blob but other bytes.
    await eventually(async () => {
      const damaged = (await service.metrics()).sum('cache_evictions_total', { reason: 'damaged' });
      if (damaged < forged) throw new Error(`${String(damaged)} of ${String(forged)} forged blobs found`);
    });
    return {
      injected: foreign,
      figures: `started in ${seconds(readyMs)}, without these files in ${seconds(clean.readyMs)}; ${tally(gots)}`,
      violations: [
        ...(readyMs > limitMs ? [`it took ${readyMs.toFixed(0)} ms to start`] : []),
        ...gots.filter(({ verdict }) => verdict !== 'whole').map(({ verdict, why }) => `${verdict}: ${why}`),
      ],
    };
  },
};

/** Returns the number of foreign files, and how many of them have the name of a blob. */
function populate(root: string, images: readonly TestImage[], random: Random): { foreign: number; forged: number } {
  const blobs = join(root, 'blobs/sha256');
  const ingest = join(root, 'ingest');
  for (const folder of [blobs, ingest]) mkdirSync(folder, { recursive: true });
  for (let index = 0; index < TEMPORARIES; index++) writeFileSync(join(ingest, `temporary-${String(index)}`), 'x');
  const names = images.map(({ layer }) => join(blobs, digestHex(layer.descriptor.digest)));
  const [folder = '', link = '', pipe = '', device = '', ...forged] = names;
  mkdirSync(folder);
  writeFileSync(join(folder, 'inside'), 'x');
  symlinkSync('/etc/hostname', link);
  execFileSync('mkfifo', [pipe]);
  const hasDevices = makesDevice(device);
  for (const path of forged) writeFileSync(path, random.bytes(200 * KIB), { mode: 0o777 });
  const odd = ['README', '.hidden', 'A'.repeat(64), 'a'.repeat(63), 'sha256:abc', 'ä'.repeat(32), '%2e%2e'];
  for (const name of odd) writeFileSync(join(blobs, name), 'hello');
  for (const name of ['lost+found', 'v2', 'blobs/sha512', 'ingest/folder']) mkdirSync(join(root, name));
  // At the place of the marker of a clean stop.
  mkdirSync(join(root, 'clean'));
  const foreign = TEMPORARIES + names.length - (hasDevices ? 0 : 1) + odd.length + 5;
  return { foreign, forged: forged.length };
}

/** A device like /dev/zero, which never ends, if the bench may create one. */
function makesDevice(path: string): boolean {
  try {
    execFileSync('mknod', [path, 'c', '1', '5'], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
