/** The findings as a document: targets with verdicts first, then each scenario's tables. */
import { figure } from './figures.ts';
import type { Findings, Scenario, Table } from './scenario.ts';
import { type Target, TARGETS } from './targets.ts';

export interface Outcome {
  readonly scenario: Scenario;
  /** The results, or the error that ended the scenario. */
  readonly findings: Findings | Error;
}

export interface Report {
  readonly facts: readonly string[];
  readonly missing: readonly string[];
  readonly isFull: boolean;
  /** Whether some scenarios did not run. */
  readonly isPartial: boolean;
  readonly rounds: number;
  readonly outcomes: readonly Outcome[];
}

const RELATIVE =
  'A figure with the unit x is the result of this service divided by that of the peer or the configuration after "relative to". A limit of "≥ 0.95 x" for "bytes/s relative to nginx" means: this service must send at least 0.95 times as many bytes per second as nginx.';

export function renderReport({ facts, missing, isFull, isPartial, rounds, outcomes }: Report): string {
  return [
    '# Performance',
    `Written by \`npm run bench\`${isFull ? ' (with `--full`)' : ''}: do not edit. The peers run in turn, for ${String(rounds)} rounds with the same blobs. Figures are medians of the rounds. The row "ours" is this service.`,
    bullets(facts),
    ...(missing.length === 0 ? [] : ['Missing:', bullets(missing)]),
    '## Targets',
    RELATIVE,
    renderMarkdown(targetTable(outcomes, isPartial)),
    ...outcomes.flatMap(({ scenario, findings }) => section(scenario, findings)),
    '',
  ].join('\n\n');
}

/** All targets; after a partial run, only those that were measured. */
export function targetTable(outcomes: readonly Outcome[], isPartial: boolean): Table {
  const measured = Object.assign(
    {},
    ...outcomes.map(({ findings }) => (findings instanceof Error ? {} : findings.measured)),
  ) as Findings['measured'];
  return {
    title: 'targets',
    columns: ['target', 'limit', 'measured', 'verdict'],
    rows: TARGETS.filter(({ id }) => !isPartial || id in measured).map((target) => {
      const value = measured[target.id];
      return [
        target.what,
        `${SIGNS[target.is]} ${figure(target.limit)} ${target.unit}`,
        value === undefined ? '–' : `${figure(value)} ${target.unit}`,
        value === undefined ? 'not measured' : holds(target, value) ? 'met' : '**missed**',
      ];
    }),
  };
}

/** The missed targets that have `mustHold`. */
export function broken(outcomes: readonly Outcome[]): Target[] {
  return TARGETS.filter((target) =>
    outcomes.some(({ findings }) => {
      const value = findings instanceof Error ? undefined : findings.measured[target.id];
      return target.mustHold === true && value !== undefined && !holds(target, value);
    }),
  );
}

/** Renders a table for a terminal. */
export function renderText(table: Table): string {
  const lines = [table.columns, ...table.rows];
  const widths = table.columns.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  const aligned = lines.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return `${table.title}\n${aligned.map((line) => `  ${line}`).join('\n')}\n`;
}

const SIGNS = { 'at least': '≥', 'at most': '≤', exactly: '=' } as const;

function holds({ is, limit }: Target, value: number): boolean {
  return is === 'at least' ? value >= limit : is === 'at most' ? value <= limit : value === limit;
}

function section({ name, about }: Scenario, findings: Findings | Error): string[] {
  const heading = [`## ${name}`, about];
  if (findings instanceof Error) return [...heading, `Failed: ${withoutPaths(findings.message)}`];
  return [
    ...heading,
    ...(findings.tables.length === 0 ? ['Not measured: a peer is missing.'] : []),
    ...findings.tables.flatMap((table) => [`### ${table.title}`, renderMarkdown(table)]),
    ...(findings.notes ?? []),
  ];
}

/** An error message must not name directories of this machine. */
function withoutPaths(text: string): string {
  return text.replaceAll(/\/[^\s:]+/g, '…').replaceAll('\n', ' ');
}

export function renderMarkdown({ columns, rows }: Table): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [row(columns), row(columns.map((_, index) => (index === 0 ? '---' : '---:'))), ...rows.map(row)].join('\n');
}

function bullets(lines: readonly string[]): string {
  return lines.map((line) => `- ${line}`).join('\n');
}
