/** Caches that are too small, and disks that are smaller than the cache was told. */
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
  what: 'a cache on a disk of 8 MiB, told to take 8 and 16 MiB, for packages of 1 to 32 MiB',
  expected: 'no download fails for lack of room; the budget holds',
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
    // As many small ones as large ones: between 1 and 2 MiB as between 16 and 32.
    size: Math.floor(MIB * 2 ** (random.between(0, 5000) / 1000)),
    content: random.fork(),
    // Some are asked for twice, so that hits and followers are among them.
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
    figures: `${String(maxBytes / MIB)} MiB: ${tally(all)}, ${String(bypassed)} of them past the cache`,
    violations: failed.map(({ verdict, why, bytes }) => `${verdict} behind ${String(bytes)} bytes: ${why}`),
  };
}
