/** Simulates one upgrade: each node fetches all packages, one after the other, and all caches are empty at the start. */
import { Dice } from '../../test/support/dice.ts';
import type { Design, Fetch } from './designs.ts';
import { FlowNetwork } from './flow-network.ts';
import type { Rates } from './rates.ts';
import type { Package } from './replicas.ts';

export interface Upgrade {
  readonly nodes: number;
  /** The sizes in bytes, in the order in which each node fetches them. */
  readonly packages: readonly number[];
  /** The nodes begin within this time. */
  readonly spreadSeconds: number;
  readonly rates: Rates;
  readonly seed: number;
}

export interface Outcome {
  /** The time until the last node has all packages. */
  readonly seconds: number;
  readonly registryBytes: number;
  /** The bytes of the master that sends most. */
  readonly masterBytes: number;
  /** The connections of the master that has most at a time. */
  readonly connections: number;
}

const MIB = 1024 ** 2;
/** 20 packages, from 1 to 160 MiB: 1.2 GiB for a node. */
const PACKAGES_MIB = [1, 160, 4, 90, 12, 70, 30, 2, 120, 55, 8, 100, 45, 25, 140, 60, 16, 80, 3, 208];

export function packagesOfRelease(): number[] {
  return PACKAGES_MIB.map((mebibytes) => mebibytes * MIB);
}

export function simulate(design: Design, { nodes, packages, spreadSeconds, rates, seed }: Upgrade): Outcome {
  const network = new FlowNetwork();
  const dice = new Dice(seed);
  const registry = network.link(rates.registry);
  const masters = Array.from({ length: rates.masters }, () => network.link(rates.master));
  const release: Package[] = packages.map((bytes, number) => ({ number, bytes }));
  const fetch = design.build({ network, rates, registry, masters, packages: release, dice });
  let finished = 0;
  for (let node = 0; node < nodes; node++) {
    network.after((dice.below(1000) * spreadSeconds) / 1000, () => {
      fetchAll(node, release, fetch, () => (finished += 1));
    });
  }
  network.run();
  if (finished !== nodes) throw new Error(`${String(nodes - finished)} nodes did not get all packages`);
  return {
    seconds: network.now,
    registryBytes: registry.bytes,
    masterBytes: Math.max(...masters.map(({ bytes }) => bytes)),
    connections: Math.max(...masters.map(({ peakFlows }) => peakFlows)),
  };
}

function fetchAll(node: number, packages: readonly Package[], fetch: Fetch, done: () => void): void {
  const [wanted, ...rest] = packages;
  if (wanted === undefined) {
    done();
    return;
  }
  fetch(node, wanted, () => {
    fetchAll(node, rest, fetch, done);
  });
}
