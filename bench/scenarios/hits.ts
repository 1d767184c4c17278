/** The speed of cached packages from 4 KiB to 256 MiB. */
import { createImage } from '../bench-image.ts';
import { counted, KIB, MIB, sizeName } from '../figures.ts';
import type { LoadOptions } from '../load-generator.ts';
import { interleave, measure, ratio, type Summary } from '../measure.ts';
import type { Peer, PeerName } from '../peers/peer.ts';
import type { Bench, Findings, Scenario } from '../scenario.ts';
import { throughputId } from '../targets.ts';
import { throughputTable, failureNotes, joinFindings, requestsTable } from './summary-table.ts';

interface Cell {
  readonly bytes: number;
  readonly clients: number;
}

const HIT_PEERS: readonly PeerName[] = ['ours', 'nginx', 'go io.Copy', 'distribution'];
/** Below this size a request costs more than its body. */
const SMALL = 64 * KIB;

export const HITS: readonly Scenario[] = [
  {
    name: 'hits',
    about: '1 and 16 clients read cached packages of 64 and 256 MiB.',
    run: (bench) =>
      runCells(
        bench,
        [64, 256].flatMap((mib) => [1, 16].map((clients) => ({ bytes: mib * MIB, clients }))),
      ),
  },
  {
    name: 'small-hits',
    about: '16 clients read cached packages of 1 MiB.',
    run: (bench) => runCells(bench, [{ bytes: MIB, clients: 16 }]),
  },
  {
    name: 'tiny-hits',
    about: '64 clients read cached packages of 4 KiB.',
    run: (bench) => runCells(bench, [{ bytes: 4 * KIB, clients: 64 }]),
  },
  {
    name: 'first-byte',
    about: 'One client reads a cached package of 64 MiB; the time of the first byte.',
    run: runFirstByte,
  },
];

async function runCells(bench: Bench, cells: readonly Cell[]): Promise<Findings> {
  const findings: Findings[] = [];
  for (const cell of cells) findings.push(await runCell(bench, cell));
  return joinFindings(findings);
}

async function runCell(bench: Bench, { bytes, clients }: Cell): Promise<Findings> {
  const title = `hit ${sizeName(bytes)}, ${counted(clients, 'client')}`;
  const summaries = await measureHits(bench, bytes, { clients, seconds: bench.effort.seconds });
  const isSmall = bytes < SMALL;
  const pick = (one: Summary): number => (isSmall ? one.requestsPerSecond : one.bytesPerSecond);
  return {
    tables: [(isSmall ? requestsTable : throughputTable)(title, summaries)],
    measured: Object.fromEntries(HIT_PEERS.map((peer) => [throughputId(title, peer), ratio(summaries, peer, pick)])),
    notes: failureNotes(title, summaries),
  };
}

async function runFirstByte(bench: Bench): Promise<Findings> {
  const title = 'first byte, 64 MiB, 1 client';
  const requests = bench.effort.isFull ? 40 : 12;
  const summaries = await measureHits(bench, 64 * MIB, { clients: 1, requests });
  const [ours, nginx] = [summaries.find(({ name }) => name === 'ours'), summaries.find(({ name }) => name === 'nginx')];
  return {
    tables: [throughputTable(title, summaries)],
    measured: { 'first-byte': ours && nginx && ours.firstByteMs - nginx.firstByteMs },
    notes: failureNotes(title, summaries),
  };
}

/** Starts processes that have the package; a first client checks every byte of it. */
async function measureHits(bench: Bench, bytes: number, options: Omit<LoadOptions, 'urls'>): Promise<Summary[]> {
  const image = await createImage(await bench.workspace.folder('images'), bytes);
  const peers = await bench.startPeers(HIT_PEERS, { cached: [image], origin: await bench.startOrigin() });
  const warmUpSeconds = bytes < SMALL ? COMPILED_SECONDS : WARM_UP_SECONDS;
  for (const peer of peers) await warmUp(bench, peer, peer.url(image), image.layer.hex, warmUpSeconds);
  const summaries = await interleave(peers, bench.effort.rounds, (peer) =>
    measure(bench.load, peer, { ...options, urls: [peer.url(image)] }),
  );
  await bench.workspace.clear();
  return summaries;
}

const WARM_UP_SECONDS = 0.3;
/** A small request costs mostly code, and V8 optimizes code after some ten thousand runs, which a service reaches soon. */
const COMPILED_SECONDS = 2;

async function warmUp({ load }: Bench, { name }: Peer, url: string, sha256: string, seconds: number): Promise<void> {
  const proof = await load({ urls: [url], clients: 1, requests: 1, sha256 });
  if (proof.failures > 0) throw new Error(`${name} does not serve the package: ${String(proof.failure)}`);
  await load({ urls: [url], clients: 4, seconds });
}
