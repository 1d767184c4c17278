/** The inputs of a scenario, and its results. */
import type { LoadGenerator } from './load-generator.ts';
import type { Origin } from './peers/origin.ts';
import type { Peer, PeerName, PeerOptions } from './peers/peer.ts';
import type { Programs } from './peers/programs.ts';
import type { Workspace } from './workspace.ts';

/** The number and the length of measurements. */
export interface Effort {
  readonly isFull: boolean;
  readonly rounds: number;
  /** The number of rounds if a round takes many seconds. */
  readonly longRounds: number;
  /** The duration of one measurement of hits. */
  readonly seconds: number;
}

export interface Bench {
  readonly workspace: Workspace;
  readonly programs: Programs;
  readonly load: LoadGenerator;
  readonly effort: Effort;
  /** Undefined if docker-registry is not installed. */
  startOrigin(): Promise<Origin | undefined>;
  startPeers(names: readonly PeerName[], options: Omit<PeerOptions, 'workspace'>): Promise<readonly Peer[]>;
}

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface Findings {
  readonly tables: readonly Table[];
  /** The values by the id of their target; undefined if the peer is missing or failed. */
  readonly measured: Readonly<Record<string, number | undefined>>;
  /** Sentences below the tables. */
  readonly notes?: readonly string[];
}

export interface Scenario {
  readonly name: string;
  /** A description of the scenario. */
  readonly about: string;
  /** Runs only with --full. */
  readonly isLong?: boolean;
  run(bench: Bench): Promise<Findings>;
}
