/** Writes the results as docs/reliability.md. */
import { hardware } from '../machine.ts';
import type { Fault, Seen } from './fault.ts';

export interface Outcome {
  readonly fault: Fault;
  readonly seen: Seen;
  readonly seconds: number;
}

export interface Report {
  readonly seed: number;
  readonly isLong: boolean;
  readonly outcomes: readonly Outcome[];
  /** The samples of cache directories, compared with their budgets. */
  readonly samples: number;
}

/** Looked at during and after each fault. */
const INVARIANTS = [
  'A body that ended normally is, byte for byte, what was asked for; every other failure is visible: a status of 400 or more, or a connection that breaks short of `Content-Length`.',
  'Each request ends within its budget; the service answers no 500, does not end by itself, and exits with 0 on SIGTERM.',
  'The blocks of the cache, temporary and removed but open files too, are within the budget whenever they are looked at: every 50 ms.',
  'At rest, within 10 s: no download runs, no temporary file is left, sockets are as few as when idle, no removed file is open.',
  'Index and directory have the same entries and the same bytes, and each file has the bytes that its name says.',
  'The counters of requests, of statuses and of hits, misses, joins and bypasses say what the clients have seen.',
  'Memory is at most 256 MiB above that of the idle process.',
  'No password, token or signature is in a log line, a metric, a header, an error or a file of the cache; none reaches the object storage.',
  'The process connects only to the registry, its token server and its storage: every connection attempt is recorded.',
];

/** The entries of the numbered list that are left out. */
const LEFT_OUT =
  'F20 (a replica dies while another one reads from it, or sends wrong bytes) is left out: replicas do not read from each other.';

export function renderReport({ seed, isLong, outcomes, samples }: Report): string {
  const injected = outcomes.reduce((total, { seen }) => total + seen.injected, 0);
  const violations = outcomes.reduce((total, { seen }) => total + seen.violations.length, 0);
  return [
    '# Reliability',
    `Written by \`npm run bench:faults\`${isLong ? ' (with `--long`)' : ''}: do not edit. A real process of the service between a scripted registry and many clients; seed ${String(seed)} repeats it.`,
    `- ${hardware()}\n- Node ${process.versions.node}\n- ${String(injected)} faults injected, ${String(violations)} violations, ${String(samples)} looks at cache directories`,
    '## Faults',
    table(outcomes),
    LEFT_OUT,
    ...details(outcomes),
    '## Invariants',
    'The bench checks them during and after each fault. A broken invariant is a violation of that fault.',
    INVARIANTS.map((one) => `- ${one}`).join('\n'),
    '',
  ].join('\n\n');
}

function table(outcomes: readonly Outcome[]): string {
  const rows = outcomes.map(({ fault, seen }) => [
    `${fault.id}: ${fault.what}`,
    String(seen.injected),
    fault.expected,
    seen.violations.length === 0 ? seen.figures : `**violated**: ${seen.figures}`,
  ]);
  return [['fault', 'how often', 'expected', 'seen'], ['---', '---:', '---', '---'], ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');
}

function details(outcomes: readonly Outcome[]): string[] {
  const violated = outcomes.filter(({ seen }) => seen.violations.length > 0);
  if (violated.length === 0) return [];
  const lines = violated.flatMap(({ fault, seen }) =>
    seen.violations.map((violation) => `- ${fault.id}: ${withoutPaths(violation)}`),
  );
  return ['## Violations', lines.join('\n')];
}

/** An error message must not name directories of this machine. */
function withoutPaths(text: string): string {
  return text.replaceAll(/\/[^\s:]+/g, '…').replaceAll('\n', ' ');
}
