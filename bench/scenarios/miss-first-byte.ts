/** The additional wait that the service causes in a miss, for the first byte and for the end, with links of several rates. */
import { createImages } from '../bench-image.ts';
import { figure, median, MIB } from '../figures.ts';
import { measure, type Sample, takeTurns } from '../measure.ts';
import { HeldLink } from '../peers/held-link.ts';
import type { Origin } from '../peers/origin.ts';
import type { Peer } from '../peers/peer.ts';
import type { Bench, Findings, Scenario } from '../scenario.ts';

const BYTES = 32 * MIB;
const MEGABIT = 1e6 / 8;
const LINKS: readonly (readonly [name: string, bytesPerSecond: number | undefined])[] = [
  ['100 Mbit/s', 100 * MEGABIT],
  ['1 Gbit/s', 1000 * MEGABIT],
  ['unbounded', undefined],
];

export const MISS_FIRST_BYTE: Scenario = {
  name: 'miss-first-byte',
  about:
    'One client requests a package of 32 MiB that only the origin has, over a link of 100 Mbit/s, of 1 Gbit/s or without ' +
    'a limit. "Direct" is a download of the layer from the origin over the same link. The first miss of a process has its own row; ' +
    'the other rows are medians of the later misses.',
  isLong: true,
  run: runFirstByte,
};

async function runFirstByte(bench: Bench): Promise<Findings> {
  const origin = await bench.startOrigin();
  if (origin === undefined) return { tables: [], measured: {} };
  const rows: string[][] = [];
  for (const [link, bytesPerSecond] of LINKS) {
    const held = bytesPerSecond === undefined ? undefined : await HeldLink.start(origin, bytesPerSecond);
    rows.push(...(await runBehind(bench, origin, held, link)));
    held?.close();
  }
  const columns = [
    'link',
    'peer',
    'first byte, ms',
    'more than direct, ms',
    'total, s',
    'relative to direct',
    'failures',
  ];
  return { tables: [{ title: 'first byte and total of a miss, cold 32 MiB, 1 client', columns, rows }], measured: {} };
}

async function runBehind(bench: Bench, origin: Origin, held: HeldLink | undefined, link: string): Promise<string[][]> {
  const images = await createImages(await bench.workspace.folder('images'), BYTES, 2 * bench.effort.rounds);
  await origin.publish(images);
  const peers = await bench.startPeers(['ours', 'go io.Copy', 'origin'], { origin: held ?? origin });
  const samples = await takeTurns(peers, images.length, (peer, round) => {
    const image = images[round];
    if (image === undefined) throw new Error(`no image for round ${String(round)}`);
    return measure(bench.load, peer, { urls: [peer.url(image)], clients: 1, requests: 1, sha256: image.layer.hex });
  });
  const later = (taken: readonly Sample[]): readonly Sample[] => taken.slice(1);
  const direct = later(entryOf(samples, 'origin'));
  const rowOf = (name: string, taken: readonly Sample[]): string[] => {
    const [first, total] = [medianOf(taken, 'firstByteMedianMs'), medianOf(taken, 'seconds')];
    return [
      link,
      name,
      figure(first),
      figure(first - medianOf(direct, 'firstByteMedianMs')),
      figure(total),
      figure(total / medianOf(direct, 'seconds')),
      String(taken.reduce((sum, { failures }) => sum + failures, 0)),
    ];
  };
  return [...samples].flatMap(([{ name }, taken]) => [
    ...(name === 'ours' ? [rowOf('ours, first miss of the process', taken.slice(0, 1))] : []),
    rowOf(name === 'origin' ? 'direct' : name, later(taken)),
  ]);
}

function entryOf(samples: ReadonlyMap<Peer, readonly Sample[]>, name: Peer['name']): readonly Sample[] {
  return [...samples].find(([peer]) => peer.name === name)?.[1] ?? [];
}

function medianOf(samples: readonly Sample[], field: 'firstByteMedianMs' | 'seconds'): number {
  return median(samples.map((sample) => sample[field]));
}
