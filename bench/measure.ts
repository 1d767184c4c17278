/** Measures one peer, runs rounds in which the peers take turns, and summarizes the rounds. */
import { setTimeout as sleep } from 'node:timers/promises';
import { median } from './figures.ts';
import type { LoadGenerator, LoadOptions, LoadReport } from './load-generator.ts';
import type { MeasuredProcess } from './measured-process.ts';
import type { Peer, PeerName } from './peers/peer.ts';

export interface Sample extends LoadReport {
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

export interface Summary {
  readonly name: PeerName;
  /** Medians of the rounds. */
  readonly bytesPerSecond: number;
  readonly requestsPerSecond: number;
  readonly seconds: number;
  readonly firstByteMs: number;
  /** The mean of all rounds, because ticks are coarse. */
  readonly cpuSecondsPerGiB: number;
  readonly cpuMsPerRequest: number;
  /** The share of one processor that the clients took. With one client, a share of 100 or more means that the client is the limit. */
  readonly clientCpuPercent: number;
  /** The highest value of all rounds. */
  readonly peakBytes: number;
  readonly failures: number;
  readonly failure: string | undefined;
}

const GIB = 1024 ** 3;
/** A process that takes no processor time for this long is at rest. */
const REST_MS = 80;
const REST_WITHIN_MS = 5000;

export async function measure(load: LoadGenerator, peer: Peer, options: LoadOptions): Promise<Sample> {
  peer.process.resetPeak();
  const cpuBefore = peer.process.cpuSeconds();
  const report = await load(options);
  await atRest(peer.process);
  return { ...report, cpuSeconds: peer.process.cpuSeconds() - cpuBefore, peakBytes: peer.process.peakBytes() };
}

/** Waits for work after the answer, such as storing the bytes: it is a cost of this peer, not of the next one. */
export async function atRest(process: MeasuredProcess): Promise<void> {
  const deadline = performance.now() + REST_WITHIN_MS;
  for (let before = -1, now = process.cpuSeconds(); now !== before && performance.now() < deadline;) {
    await sleep(REST_MS);
    before = now;
    now = process.cpuSeconds();
  }
}

export async function interleave(
  peers: readonly Peer[],
  rounds: number,
  run: (peer: Peer, round: number) => Promise<Sample>,
): Promise<Summary[]> {
  return [...(await takeTurns(peers, rounds, run))].map(([{ name }, taken]) => summarise(name, taken));
}

/** Runs the peers in the order A, B, C, then B, C, A, …, so that changes of the machine and the first place affect all peers equally. */
export async function takeTurns<Turn, Taken>(
  peers: readonly Turn[],
  rounds: number,
  run: (peer: Turn, round: number) => Promise<Taken>,
): Promise<Map<Turn, Taken[]>> {
  const samples = new Map<Turn, Taken[]>(peers.map((peer) => [peer, []]));
  for (let round = 0; round < rounds; round++) {
    const first = round % peers.length;
    for (const peer of [...peers.slice(first), ...peers.slice(0, first)]) {
      samples.get(peer)?.push(await run(peer, round));
    }
  }
  return samples;
}

export function summarise(name: PeerName, samples: readonly Sample[]): Summary {
  const total = (pick: (sample: Sample) => number): number => samples.reduce((sum, sample) => sum + pick(sample), 0);
  const cpuSeconds = total((sample) => sample.cpuSeconds);
  return {
    name,
    bytesPerSecond: median(samples.map(({ bytes, seconds }) => bytes / seconds)),
    requestsPerSecond: median(samples.map(({ requests, seconds }) => requests / seconds)),
    seconds: median(samples.map(({ seconds }) => seconds)),
    firstByteMs: median(samples.map(({ firstByteMedianMs }) => firstByteMedianMs)),
    cpuSecondsPerGiB: cpuSeconds / (total(({ bytes }) => bytes) / GIB),
    cpuMsPerRequest: (1000 * cpuSeconds) / total(({ requests }) => requests),
    clientCpuPercent: (100 * total((sample) => sample.clientCpuSeconds)) / total(({ seconds }) => seconds),
    peakBytes: Math.max(...samples.map(({ peakBytes }) => peakBytes)),
    failures: total(({ failures }) => failures),
    failure: samples.find(({ failure }) => failure !== undefined)?.failure,
  };
}

/** The result of our service divided by that of a peer; undefined if the peer is missing or either failed. */
export function ratio(
  summaries: readonly Summary[],
  peer: PeerName,
  pick: (summary: Summary) => number,
): number | undefined {
  const [ours, theirs] = [summaries.find(({ name }) => name === 'ours'), summaries.find(({ name }) => name === peer)];
  if (ours === undefined || theirs === undefined || ours.failures + theirs.failures > 0) return undefined;
  return pick(ours) / pick(theirs);
}
