/** The results of all designs and numbers of nodes as tables, for a terminal and for docs/scaling.md. */
import { figure } from '../figures.ts';
import type { Table } from '../scenario.ts';
import { DESIGNS } from './designs.ts';
import { measuredCost, type Rates, ratesOf } from './rates.ts';
import { type Outcome, packagesOfRelease, simulate } from './simulation.ts';

export const NODES = [100, 1000, 5000, 20_000];
const SPREAD_SECONDS = 5;
const SEED = 1;
const GIB = 1024 ** 3;

const MEASURES: readonly { readonly title: string; readonly cell: (outcome: Outcome) => string }[] = [
  { title: 'time until the last node has all packages', cell: ({ seconds }) => duration(seconds) },
  { title: 'GiB out of the registry', cell: ({ registryBytes }) => figure(registryBytes / GIB) },
  { title: 'GiB out of the master that sends most', cell: ({ masterBytes }) => figure(masterBytes / GIB) },
  { title: 'connections at a time, of the master with most', cell: ({ connections }) => String(connections) },
];

/** With 20 000 nodes each design takes seconds. */
export function fleetTables(nodes: readonly number[] = NODES, rates: Rates = ratesOf(measuredCost())): Table[] {
  const rows = DESIGNS.map((design) => ({
    name: design.name,
    outcomes: nodes.map((count) =>
      simulate(design, {
        nodes: count,
        packages: packagesOfRelease(),
        spreadSeconds: SPREAD_SECONDS,
        rates,
        seed: SEED,
      }),
    ),
  }));
  return MEASURES.map(({ title, cell }) => ({
    title,
    columns: ['design', ...nodes.map((count) => `${String(count)} nodes`)],
    rows: rows.map(({ name, outcomes }) => [name, ...outcomes.map(cell)]),
  }));
}

export function duration(seconds: number): string {
  if (seconds < 600) return `${String(Math.round(seconds))} s`;
  return seconds < 7200 ? `${String(Math.round(seconds / 60))} min` : `${figure(seconds / 3600)} h`;
}
