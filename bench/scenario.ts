/** The inputs of a scenario, and its results. */
import type { LoadGenerator } from './load-generator.ts';
import type { Origin } from './peers/origin.ts';
import type { Peer, PeerName, PeerOptions } from './peers/peer.ts';
import type { Programs } from './peers/programs.ts';
import type { Workspace } from './workspace.ts';

/** How long it may take. */
export interface Effort {
  readonly isFull: boolean;
  readonly rounds: number;
  /** Where a round takes many seconds. */
  readonly longRounds: number;
  /** The seconds of one measurement of hits. */
  readonly seconds: number;
}

export interface Bench {
  readonly workspace: Workspace;
  readonly programs: Programs;
  readonly load: LoadGenerator;
  readonly effort: Effort;
  /** Undefined without a registry's program. */
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
  /** By the id of a target; undefined when what it is compared with is missing or has failed. */
  readonly measured: Readonly<Record<string, number | undefined>>;
  /** In sentences, what a table cannot say. */
  readonly notes?: readonly string[];
}

export interface Scenario {
  readonly name: string;
  /** The scenario, in a sentence. */
  readonly about: string;
  /** Only with --full. */
  readonly isLong?: boolean;
  run(bench: Bench): Promise<Findings>;
}
