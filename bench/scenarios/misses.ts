/** The wait of the first client of a package, and the load of many first clients on the registry. */
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
      'A package of 64 MiB that only the origin has, for one client; another package each round. Clients of ' +
      'distribution and nginx name the layer; ours and go io.Copy have to ask for its manifest first. CPU includes what ' +
      'goes on after the client has all: distribution downloads again what it stores.',
    run: runMiss,
  },
  {
    name: 'stampede',
    about: '64 clients at once on one package of 64 MiB that only the origin has; another package each round.',
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
  // Without coalescing every client's copy goes to the disk, which takes too long for a short run.
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
      'stampede: manifests and blobs are requests at the origin, the most of any round.',
      ...(bench.effort.isFull ? [] : ['stampede: go io.Copy takes part with --full only.']),
      ...failureNotes('stampede', summaries),
    ],
  };
}

interface Prepared {
  readonly peers: readonly Peer[];
  readonly images: readonly BenchImage[];
  readonly origin: Origin;
}

/** Each peer has fetched one small package before: connections and compiled code are no part of a miss. */
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
