/** The time of a miss, and the requests to the registry when many clients request the same uncached package. */
import { createImages } from '../bench-image.ts';
import { figure, MIB } from '../figures.ts';
import { interleave, measure, ratio, type Sample, type Summary } from '../measure.ts';
import type { Origin, OriginRequests } from '../peers/origin.ts';
import type { Peer, PeerName } from '../peers/peer.ts';
import type { BenchImage } from '../bench-image.ts';
import type { Bench, Findings, Scenario } from '../scenario.ts';
import { totalsTable, failureNotes } from './summary-table.ts';

const BYTES = 64 * MIB;
const STAMPEDE_CLIENTS = 64;

export const MISSES: readonly Scenario[] = [
  {
    name: 'miss',
    about:
      'One client requests a package of 64 MiB that only the origin has; each round uses a new package. Clients of ' +
      'distribution and nginx request the layer; ours and go io.Copy have to fetch the manifest first. CPU includes the work ' +
      'after the end of the answer: distribution downloads a blob a second time in order to store it.',
    run: runMiss,
  },
  {
    name: 'stampede',
    about: '64 clients at once request one package of 64 MiB that only the origin has; each round uses a new package.',
    run: runStampede,
  },
];

async function runMiss(bench: Bench): Promise<Findings> {
  const prepared = await prepare(bench, 2 * bench.effort.rounds - 1, [
    'ours',
    'distribution',
    'nginx proxy_cache',
    'go io.Copy',
    'origin',
  ]);
  if (prepared === undefined) return { tables: [], measured: {} };
  const { peers, images } = prepared;
  const summaries = await interleave(peers, images.length, (peer, round) => measureOnce(bench, peer, images, round, 1));
  return {
    tables: [totalsTable('miss, cold 64 MiB, 1 client', summaries)],
    measured: { miss: ratio(summaries, 'distribution', ({ seconds }) => seconds) },
    notes: failureNotes('miss', summaries),
  };
}

async function runStampede(bench: Bench): Promise<Findings> {
  // go io.Copy writes a copy for each client to the disk, which takes too long for a short run.
  const others: readonly PeerName[] = bench.effort.isFull ? ['go io.Copy'] : [];
  const names: readonly PeerName[] = ['ours', 'distribution', 'nginx proxy_cache', ...others];
  const prepared = await prepare(bench, bench.effort.longRounds, names);
  if (prepared === undefined) return { tables: [], measured: {} };
  const { peers, images, origin } = prepared;
  const asked = new Map<PeerName, OriginRequests[]>();
  const summaries = await interleave(peers, images.length, async (peer, round) => {
    const image = images[round];
    const before = image && (await origin.requestsFor(image));
    const sample = await measureOnce(bench, peer, images, round, STAMPEDE_CLIENTS);
    const after = image && (await origin.requestsFor(image));
    asked.set(peer.name, [...(asked.get(peer.name) ?? []), difference(after, before)]);
    return sample;
  });
  const most = (name: PeerName, pick: (requests: OriginRequests) => number): number =>
    Math.max(...(asked.get(name) ?? []).map(pick));
  const table = totalsTable('64 clients on one cold 64 MiB', summaries);
  return {
    tables: [
      {
        ...table,
        columns: [...table.columns, 'manifests', 'blobs'],
        rows: table.rows.map((row, index) => {
          const { name } = summaries[index] ?? { name: 'ours' };
          return [...row, figureOf(most(name, (one) => one.manifests)), figureOf(most(name, (one) => one.blobs))];
        }),
      },
    ],
    measured: {
      stampede: ratio(summaries, 'distribution', ({ seconds }) => seconds),
      'stampede-manifests': oursOnly(
        summaries,
        most('ours', (one) => one.manifests),
      ),
      'stampede-blobs': oursOnly(
        summaries,
        most('ours', (one) => one.blobs),
      ),
    },
    notes: [
      'The columns manifests and blobs count the requests to the origin; each figure is the highest of all rounds.',
      ...(bench.effort.isFull ? [] : ['go io.Copy is measured only with --full.']),
      ...failureNotes('stampede', summaries),
    ],
  };
}

interface Prepared {
  readonly peers: readonly Peer[];
  readonly images: readonly BenchImage[];
  readonly origin: Origin;
}

/** Each peer fetches a small package first, so that new connections and the compilation of code are not measured. */
async function prepare(bench: Bench, rounds: number, names: readonly PeerName[]): Promise<Prepared | undefined> {
  const origin = await bench.startOrigin();
  if (origin === undefined) return undefined;
  const folder = await bench.workspace.folder('images');
  const images = await createImages(folder, BYTES, rounds);
  const small = await createImages(folder, MIB, 1);
  await origin.publish([...images, ...small]);
  const peers = await bench.startPeers(names, { origin });
  for (const peer of peers) {
    for (const image of small) {
      const { failure } = await bench.load({
        urls: [peer.url(image)],
        clients: 1,
        requests: 1,
        sha256: image.layer.hex,
      });
      if (failure !== undefined) throw new Error(`${peer.name} does not fetch a package: ${failure}`);
    }
  }
  return { peers, images, origin };
}

function measureOnce(
  bench: Bench,
  peer: Peer,
  images: readonly BenchImage[],
  round: number,
  clients: number,
): Promise<Sample> {
  const image = images[round];
  if (image === undefined) throw new Error(`no image for round ${String(round)}`);
  return measure(bench.load, peer, { urls: [peer.url(image)], clients, requests: clients });
}

function difference(after: OriginRequests | undefined, before: OriginRequests | undefined): OriginRequests {
  return {
    manifests: (after?.manifests ?? 0) - (before?.manifests ?? 0),
    blobs: (after?.blobs ?? 0) - (before?.blobs ?? 0),
  };
}

function oursOnly(summaries: readonly Summary[], value: number): number | undefined {
  return summaries.find(({ name }) => name === 'ours')?.failures === 0 ? value : undefined;
}

function figureOf(value: number): string {
  return Number.isInteger(value) ? String(value) : figure(value);
}
