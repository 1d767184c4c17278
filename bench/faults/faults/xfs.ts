/** A cache on XFS, which reserves blocks after the end of a growing file. */
import { statfsSync } from 'node:fs';
import { join } from 'node:path';
import { makeImage } from '../../../test/support/image.ts';
import type { Fault } from '../fault.ts';
import { mountXfs } from '../failpoints/small-disk.ts';
import { pacedAt } from '../failpoints/registry/behaviours.ts';
import { swarm, tally } from '../traffic/swarm.ts';

const MIB = 1024 * 1024;
/** The smallest file system that mkfs.xfs creates. */
const DISK_BYTES = 300 * MIB;
const MAX_BYTES = 160 * MIB;
const PACKAGE_BYTES = 33 * MIB;
const AT_ONCE = 4;
const BYTES_PER_SECOND = 24 * MIB;
const LOOK_MS = 20;
/** The blocks of the file system itself: inodes, free lists, and reserved maps of files that are being written. */
const OVERHEAD_BYTES = 8 * MIB;

export const XFS: Fault = {
  id: 'F33',
  what: 'A cache of 160 MiB is on XFS. Four packages of 33 MiB arrive at a time.',
  expected: 'The file system never uses more than the limit of the cache plus 8 MiB of its own.',
  async run(bench) {
    const disk = await mountXfs(bench, DISK_BYTES);
    if ('reason' in disk) return { injected: 0, figures: `skipped: ${disk.reason}`, violations: [] };
    const registry = await bench.startRegistry();
    const emptyBytes = usedBytes(disk.path);
    const settings = { store: { directory: join(disk.path, 'cache') } };
    const service = await bench.startService({ registry, maxBytes: MAX_BYTES, settings });
    registry.scriptAll(({ place }) => (place === 'blob' ? pacedAt(BYTES_PER_SECOND) : undefined));
    let peakBytes = 0;
    const looking = setInterval(() => {
      peakBytes = Math.max(peakBytes, usedBytes(disk.path) - emptyBytes);
    }, LOOK_MS);
    const count = bench.times(12, 200);
    const seeds = Array.from({ length: count }, () => bench.random.fork());
    const gots = await swarm(seeds, AT_ONCE, async (random) => {
      const image = makeImage([random.bytes(PACKAGE_BYTES)]);
      registry.publish(image);
      const got = await service.get(image);
      registry.withdraw(image);
      return got;
    });
    clearInterval(looking);
    const failed = gots.filter(({ verdict }) => verdict !== 'whole');
    return {
      injected: count,
      figures: `${tally(gots)}; the file system used at most ${(peakBytes / MIB).toFixed(1)} MiB, with a limit of ${String(MAX_BYTES / MIB)} MiB`,
      violations: [
        ...failed.map(({ verdict, why }) => `${verdict}: ${why}`),
        ...(peakBytes > MAX_BYTES + OVERHEAD_BYTES ? [`${String(peakBytes)} bytes in use`] : []),
      ],
    };
  },
};

function usedBytes(path: string): number {
  const { blocks, bfree, bsize } = statfsSync(path);
  return (blocks - bfree) * bsize;
}
