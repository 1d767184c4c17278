/** A small upgrade in which the master of each request is fixed, so that real clients and the simulation do the same. */
import { Dice } from '../../test/support/dice.ts';
import type { Design } from './designs.ts';
import { Replicas } from './replicas.ts';
import { type Outcome, simulate } from './simulation.ts';

export interface PlannedUpgrade {
  /** The sizes in bytes, in the order of the requests. */
  readonly packages: readonly number[];
  /** The index of the master for each node and package. */
  readonly masters: readonly (readonly number[])[];
}

export interface PlannedRates {
  /** Bytes per second of the registry and of each master. */
  readonly registry: number;
  readonly master: number;
  /** The rate of all masters and clients together, because they share one machine. */
  readonly machine: number;
}

const MASTERS = 3;

export function planUpgrade(nodes: number, packages: readonly number[], seed: number): PlannedUpgrade {
  const dice = new Dice(seed);
  const masters = Array.from({ length: nodes }, () => packages.map(() => dice.below(MASTERS)));
  return { packages, masters };
}

export function simulatePlanned({ packages, masters }: PlannedUpgrade, rates: PlannedRates): Outcome {
  const design: Design = {
    name: 'planned',
    build: ({ network, registry, masters: links }) => {
      const replicas = new Replicas({
        network,
        masters: links,
        node: rates.machine,
        source: () => registry,
        before: network.link(rates.machine),
      });
      return (node, wanted, done) => {
        replicas.send(masters[node]?.[wanted.number] ?? 0, wanted, done);
      };
    },
  };
  return simulate(design, {
    nodes: masters.length,
    packages,
    spreadSeconds: 0,
    seed: 1,
    rates: {
      registry: rates.registry,
      master: rates.master,
      masters: MASTERS,
      node: rates.machine,
      nodeUpload: 0,
      bucket: 0,
      balancer: 0,
    },
  });
}
