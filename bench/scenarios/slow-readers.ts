/** The memory that slow readers take. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createImage } from '../bench-image.ts';
import { figure, KIB, mebibytes, MIB } from '../figures.ts';
import type { Peer, PeerName } from '../peers/peer.ts';
import type { Bench, Findings, Scenario } from '../scenario.ts';

export interface SlowReading {
  readonly peer: Peer;
  readonly idleBytes: number;
  readonly peakBytes: number;
  /** The bytes that the readers got, as a share of what they could have read at their rate. */
  readonly pace: number;
  readonly failures: number;
}

const RATE = 256 * KIB;
const READERS = 200;
/** The time until a process is at rest after its start. */
const SETTLE_MS = 2000;
const PEERS: readonly PeerName[] = ['ours', 'nginx', 'go io.Copy', 'distribution'];

export const SLOW_READERS: Scenario = {
  name: 'slow-readers',
  about: '200 clients read one cached package of 256 MiB at 256 KiB/s each, until they are cut off after 15 s.',
  run: async (bench) => {
    const readings = await readSlowly(bench, PEERS, READERS, 15);
    return findings(readings);
  },
};

/** Measures all peers at the same time, because the rates are far below the limit of the machine. */
export async function readSlowly(
  bench: Bench,
  names: readonly PeerName[],
  clients: number,
  cutOffSeconds: number,
): Promise<SlowReading[]> {
  const image = await createImage(await bench.workspace.folder('images'), 256 * MIB);
  const peers = await bench.startPeers(names, { cached: [image], origin: await bench.startOrigin() });
  await sleep(SETTLE_MS);
  const readings = await Promise.all(
    peers.map(async (peer) => {
      const idleBytes = peer.process.residentBytes();
      peer.process.resetPeak();
      const options = { clients, cutOffSeconds, requests: clients, bytesPerSecond: RATE };
      const { bytes, failures } = await bench.load({ ...options, urls: [peer.url(image)] });
      const pace = bytes / (clients * RATE * cutOffSeconds);
      return { peer, idleBytes, peakBytes: peer.process.peakBytes(), pace, failures };
    }),
  );
  await bench.workspace.clear();
  return readings;
}

function findings(readings: readonly SlowReading[]): Findings {
  const ours = readings.find(({ peer }) => peer.name === 'ours');
  return {
    tables: [
      {
        title: '200 readers at 256 KiB/s of one 256 MiB',
        columns: ['peer', 'idle MiB', 'peak MiB', 'above idle MiB', 'pace kept', 'failures'],
        rows: readings.map(({ peer, idleBytes, peakBytes, pace, failures }) => [
          peer.name,
          mebibytes(idleBytes),
          mebibytes(peakBytes),
          mebibytes(peakBytes - idleBytes),
          `${figure(100 * pace)} %`,
          String(failures),
        ]),
      },
    ],
    measured: {
      'slow-readers': ours?.failures === 0 ? (ours.peakBytes - ours.idleBytes) / MIB : undefined,
    },
  };
}
