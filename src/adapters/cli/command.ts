/** A command of the command line, its flags and exit codes, and how a command is added. */
import { parseArgs } from 'node:util';
import { meantFlag } from './meant-flag.ts';

/** The process, as values that program.ts reads. Results go to `stdout`, errors and progress to `stderr`. */
export interface Terminal {
  readonly stdout: Output;
  readonly stderr: Output;
  /** Opened by the first use, which few commands have. */
  readonly stdin: Input;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The version of this program. */
  readonly version: string;
  /** The settings file that every other one is laid over. */
  readonly defaultSettings: string;
  /** Aborts at the first SIGINT or SIGTERM; a second one ends the process at once. */
  readonly interrupted: AbortSignal;
}

/** As process.stdout is. */
export interface Output {
  readonly isTTY?: boolean | undefined;
  /** The present width of a terminal. */
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
  write(text: string): unknown;
  on?(event: 'resize', listener: () => void): unknown;
  off?(event: 'resize', listener: () => void): unknown;
}

/** As process.stdin is. */
export interface Input {
  readonly isTTY?: boolean | undefined;
  /** A terminal gives each key at once from now on, and none is a signal. */
  setRawMode?(isRaw: boolean): unknown;
  on(event: 'data', listener: (chunk: Buffer | string) => void): unknown;
  off(event: 'data', listener: (chunk: Buffer | string) => void): unknown;
  pause(): unknown;
}

interface Declaration<Known extends Flags> {
  /** Describes the command in sentences, below the summary of its row in table.ts. */
  readonly about: string;
  readonly flags: Known;
  /** By their names in the help: `FILE`, `[FILE]` when it can be left out, `FILE...` for one and more. */
  readonly operands?: readonly string[];
  /** At least one. `run` follows the program's name. */
  readonly examples: readonly { readonly to: string; readonly run: string }[];
  /** Its exit codes: the sentence of EXIT_CODES, or the meaning for this command. */
  readonly exits: Partial<Readonly<Record<ExitCode, string>>>;
  /**
   * @throws UsageError for what flags cannot express
   * @throws CommandFailure when the command could not start
   * @throws the reason of `interrupted`, or an AbortError, when that is why it ends
   */
  readonly run: (given: Given<Known>, terminal: Terminal) => Promise<ExitCode>;
}

/** A command in the table of commands; its file is loaded when it is asked for. */
export interface Row {
  readonly name: string;
  /** The summary, in one line: it completes "registry-packages-proxy NAME: …". */
  readonly summary: string;
  load(): Promise<Command>;
}

/** A declaration that parses its own flags. */
export interface Command extends Omit<Declaration<Flags>, 'run'> {
  /** @throws UsageError when `args` are not its flags and operands; and what its declaration throws */
  readonly run: (args: readonly string[], terminal: Terminal) => Promise<ExitCode>;
}

/**
 * To add a command: a file here that makes it with `command({ … })` of its flags, operands, help and `run`; if it needs
 * settings or other adapters, a file in `src/infrastructure/commands` that gives them to it; its row in table.ts there; its
 * section in docs/command-line.md.
 */
export function command<const Known extends Flags>(declaration: Declaration<Known>): Command {
  const { flags, operands = [], run } = declaration;
  return {
    ...declaration,
    run: async (args, terminal) => run(parseFlags(args, flags, operands), terminal),
  };
}

export const EXIT_CODE = {
  /** All that was asked for; of `serve`, a stop by signal. */
  done: 0,
  /** Nothing was done. */
  refused: 1,
  /** It was done, and not all of it is as it should be. */
  faulty: 2,
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT_CODE)[keyof typeof EXIT_CODE];

export const EXIT_CODES: Readonly<Record<ExitCode, string>> = {
  0: 'done',
  1: 'wrong flags or settings, or the command could not start',
  2: 'something is damaged, missing or unusable, or a part of the work failed',
  130: 'ended by SIGINT or SIGTERM',
};

/** The command line is wrong. The message is a sentence for its author. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A directory is missing, a registry does not answer, settings are wrong. The message is a sentence for an operator. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
}

export class SettingsError extends CommandFailure {
  /** One line each: `file:line: setting: what is wrong`. */
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

export interface Flag {
  readonly type: 'string' | 'boolean';
  /** The placeholder of the value in the help, such as FILE. */
  readonly value?: string;
  readonly about: string;
}

/** The flag of each command that prints a result for people. docs/schemas has a schema for each of the documents. */
export const JSON_FLAG = { type: 'boolean', about: 'print the result as one JSON document instead' } as const;

/** The flags of the existing implementation, for every command that needs settings. */
export const SETTINGS_FLAGS = {
  config: { type: 'string', value: 'FILE', about: 'settings file; config/default.yaml documents all settings' },
  'listen-address': { type: 'string', value: 'HOST:PORT', about: 'address to listen on (:PORT for all interfaces)' },
  'cache-directory': { type: 'string', value: 'DIRECTORY', about: 'directory of the cache' },
  'cache-retention-size': { type: 'string', value: 'SIZE', about: 'maximum size of the cache: 1Gi, 500M, ...' },
  'disable-cache': { type: 'boolean', about: 'run without a cache' },
  kubeconfig: {
    type: 'string',
    value: 'FILE',
    about: 'kubeconfig for use outside the cluster, with credentials.source: kubernetes',
  },
  'log-level': {
    type: 'string',
    value: 'LEVEL',
    about: 'lowest level of the log: trace, debug, info, warn, error or fatal',
  },
} as const;

/** One document on one line, so that lines of several runs can be told apart. */
export function writeJson(stdout: Output, document: object): void {
  stdout.write(`${JSON.stringify(document)}\n`);
}

export type Flags = Readonly<Record<string, Flag>>;

/** A flag that was not given is undefined. */
export type Values<Known extends Flags> = {
  readonly [Name in keyof Known]?: Known[Name]['type'] extends 'boolean' ? boolean : string;
};

interface Given<Known extends Flags> {
  readonly flags: Values<Known>;
  readonly operands: readonly string[];
}

/** The last of two flags wins. Go's `--name=true` and `--name=false` work. @throws UsageError */
export function parseFlags<Known extends Flags>(
  args: readonly string[],
  known: Known,
  operands: readonly string[],
): Given<Known> {
  const { values, positionals } = parse(
    args.map((arg) => asNodeWritesIt(arg, known)),
    known,
  );
  const least = operands.filter((name) => !name.startsWith('[')).length;
  const missing = operands[positionals.length];
  if (positionals.length < least && missing !== undefined) throw new UsageError(`${missing} is missing`);
  const isOpen = operands.at(-1)?.endsWith('...') ?? false;
  const surplus = positionals[operands.length];
  if (surplus !== undefined && !isOpen)
    throw new UsageError(`unexpected argument "${surplus}"${meantFlag(surplus, known)}`);
  return { flags: values, operands: positionals };
}

function parse(args: string[], known: Flags): { values: object; positionals: string[] } {
  const options = Object.fromEntries(Object.entries(known).map(([name, { type }]) => [name, { type }]));
  try {
    return parseArgs({ args, options, allowNegative: true, allowPositionals: true });
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    const unknown = /^Unknown option '(-[^']*)'/.exec(cause.message)?.[1];
    if (unknown === undefined) throw new UsageError(firstSentence(cause.message), { cause });
    const names = Object.keys(known).map((name) => `--${name}`);
    throw new UsageError(`there is no flag ${unknown}${didYouMean(unknown, names)}`, { cause });
  }
}

function asNodeWritesIt(arg: string, known: Flags): string {
  const [, name = '', value] = /^--([^=]+)=(true|false)$/.exec(arg) ?? [];
  if (known[name]?.type !== 'boolean') return arg;
  return value === 'true' ? `--${name}` : `--no-${name}`;
}

/** Without what Node says to programmers. */
function firstSentence(message: string): string {
  return (message.split('\n', 1)[0] ?? message).replace(/\.$/, '');
}

/** More changes than these make another word. */
const MOST_CHANGES = 3;

/** `, did you mean "serve"?`, or nothing when no name is near. */
export function didYouMean(typed: string, names: readonly string[]): string {
  const candidates = names
    .map((name) => ({ name, distance: name.startsWith(typed) ? 0 : changes(typed, name) }))
    .filter(({ name, distance }) => distance <= Math.min(MOST_CHANGES, name.length / 3))
    .sort((a, b) => a.distance - b.distance);
  const nearest = candidates[0]?.name;
  return nearest === undefined ? '' : `, did you mean ${nearest}?`;
}

/** Letters to insert, remove or replace (Levenshtein). */
function changes(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [i, letter] of Array.from(from).entries()) {
    const next = [i + 1];
    for (const [j, other] of Array.from(to).entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

/** @throws UsageError, which does not repeat the text */
export function parseServiceUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.href !== `${url.origin}/`) {
    throw new UsageError('--url must be http://HOST:PORT or https://HOST:PORT');
  }
  return url;
}
