/** The cache is small, and the disk is smaller than `store.maxSize`. */
import { makeImage } from '../../../test/support/image.ts';
import type { Got } from '../traffic/client.ts';
import type { Fault, Seen } from '../fault.ts';
import type { FaultBench } from '../fault-bench.ts';
import { mountSmallDisk } from '../failpoints/small-disk.ts';
import { swarm, tally } from '../traffic/swarm.ts';

const MIB = 1024 * 1024;
const DISK_BYTES = 8 * MIB;
const BUDGETS = [8 * MIB, 16 * MIB];
const AT_ONCE = 4;

export const FULL_DISK: Fault = {
  id: 'F12',
  what: 'The cache is on a disk of 8 MiB. `store.maxSize` is 8 MiB, then 16 MiB. Packages have 1 to 32 MiB.',
  expected: 'No download fails for lack of room. The cache never exceeds its limit.',
  async run(bench) {
    const seen: Seen[] = [];
    for (const maxBytes of BUDGETS) seen.push(await fillUp(bench, maxBytes));
    return {
      injected: seen.reduce((sum, { injected }) => sum + injected, 0),
      figures: seen.map(({ figures }) => figures).join('; '),
      violations: seen.flatMap(({ violations }) => violations),
    };
  },
};

async function fillUp(bench: FaultBench, maxBytes: number): Promise<Seen> {
  const disk = await mountSmallDisk(bench, DISK_BYTES);
  if ('reason' in disk) return { injected: 0, figures: `skipped: ${disk.reason}`, violations: [] };
  const registry = await bench.startRegistry();
  const service = await bench.startService({ registry, maxBytes, settings: { store: { directory: disk.path } } });
  const { random } = bench;
  const downloads = Array.from({ length: bench.times(24, 1000) }, () => ({
    // Small packages are as frequent as large ones: as many have 1 to 2 MiB as have 16 to 32 MiB.
    size: Math.floor(MIB * 2 ** (random.between(0, 5000) / 1000)),
    content: random.fork(),
    // A third of the packages have two clients, so that some requests join a download.
    clients: random.pick([1, 1, 2]),
  }));
  const gots = await swarm(downloads, AT_ONCE, async ({ size, content, clients }): Promise<Got[]> => {
    const image = makeImage([content.bytes(size)]);
    registry.publish(image);
    const answers = await Promise.all(Array.from({ length: clients }, () => service.get(image)));
    registry.withdraw(image);
    return answers;
  });
  const all = gots.flat();
  const failed = all.filter(({ verdict }) => verdict !== 'whole');
  const bypassed = all.filter(({ headers }) => headers['cache-status']?.includes('bypass')).length;
  return {
    injected: all.length,
    figures: `${String(maxBytes / MIB)} MiB: ${tally(all)}, ${String(bypassed)} of them without caching`,
    violations: failed.map(({ verdict, why, bytes }) => `${verdict} after ${String(bytes)} bytes: ${why}`),
  };
}
