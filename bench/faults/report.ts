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

/** Checked during and after each fault. */
const INVARIANTS = [
  'A body that ends normally has exactly the requested bytes. Each failure is visible to the client: a status of 400 or more, or a connection that breaks before the end of `Content-Length`.',
  'Each request ends within its time limit. The service answers no 500, does not end by itself, and exits with 0 after SIGTERM.',
  'The blocks of the cache never exceed its limit. Temporary files and removed files that are still open are included. The bench measures them every 50 ms.',
  'Within 20 s after the last request no download runs, no temporary file is left, no removed file is open, and there are as few sockets as in the idle service.',
  'The index and the directory of the cache have the same entries and sizes, and the digest of each file is its name.',
  'The metrics for requests, statuses, hits, misses, joins and bypasses agree with the answers that the clients got.',
  'The process takes at most 256 MiB more memory than when idle.',
  'No log line, metric, header, error or cached file contains a password, a token or a signature. No request to the object storage contains a password or a token.',
  'The process connects only to the registry, its token server and its storage. The bench records each connection attempt.',
];

/** The numbers that no fault has. */
const LEFT_OUT =
  'There is no F20 (a replica stops, or sends wrong bytes, while another one reads from it), because replicas do not read from each other.';

/** The words of the column "seen", as the bench's client defines them. */
const VERDICTS =
  'The column "seen" counts the responses of the clients. whole: the right bytes, all of them. refused: a status of 400 or more. cut: the connection broke before the end of the body. unreachable: no answer. left: the client closed the connection.';

export function renderReport({ seed, isLong, outcomes, samples }: Report): string {
  const injected = outcomes.reduce((total, { seen }) => total + seen.injected, 0);
  const violations = outcomes.reduce((total, { seen }) => total + seen.violations.length, 0);
  return [
    '# Reliability',
    `Written by \`npm run bench:faults\`${isLong ? ' (with `--long`)' : ''}: do not edit. The bench runs the service as a real process between a scripted registry and many clients. Seed ${String(seed)} repeats this run.`,
    `- ${hardware()}\n- Node ${process.versions.node}\n- ${String(injected)} faults injected, ${String(violations)} violations, ${String(samples)} measurements of cache directories`,
    '## Faults',
    table(outcomes),
    VERDICTS,
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
