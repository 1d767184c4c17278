/** The parts of the chart's Grafana dashboard that tests read. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

interface DataSource {
  readonly type: string;
  readonly uid: string;
}

export interface Target {
  readonly refId: string;
  readonly expr: string;
  /** Queries only the current value instead of the shown time range. */
  readonly instant?: boolean;
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly datasource?: DataSource;
  readonly targets?: readonly Target[];
}

export interface Variable {
  readonly name: string;
  readonly type: string;
  readonly datasource?: DataSource;
  readonly query: string | { readonly query: string };
}

export interface Dashboard {
  readonly uid: string;
  readonly id?: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly Variable[] };
  readonly annotations: {
    readonly list: readonly { readonly name: string; readonly datasource: DataSource; readonly expr: string }[];
  };
}

const FILE = join(import.meta.dirname, '../../charts/registry-packages-proxy/dashboards/registry-packages-proxy.json');

export function readDashboard(): Dashboard {
  return JSON.parse(readFileSync(FILE, 'utf8')) as Dashboard;
}

/** The queries of variables, panels and annotations, each with its place. */
export function queriesOf({ panels, annotations }: Dashboard): (Target & { readonly where: string })[] {
  return [
    ...panels.flatMap(({ title, targets = [] }) =>
      targets.map((target) => ({ ...target, where: `${title} ${target.refId}` })),
    ),
    ...annotations.list.map(({ name, expr }) => ({ refId: name, expr, where: `marks of ${name}` })),
  ];
}
