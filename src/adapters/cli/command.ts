/** A command of the command line, its flags and exit codes, and how to add one. */
import { parseArgs } from 'node:util';
import { meantFlag } from './meant-flag.ts';

/** The parts of the process that program.ts reads. Results go to `stdout`, errors and progress to `stderr`. */
export interface Terminal {
  readonly stdout: Output;
  readonly stderr: Output;
  /** Opened by the first use, because few commands use it. */
  readonly stdin: Input;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The version of this program. */
  readonly version: string;
  /** The file with the default settings; other files override it. */
  readonly defaultSettings: string;
  /** Aborted by the first SIGINT or SIGTERM; a second one ends the process at once. */
  readonly interrupted: AbortSignal;
}

/** The used part of process.stdout. */
export interface Output {
  readonly isTTY?: boolean | undefined;
  /** The present width of the terminal. */
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
  write(text: string): unknown;
  on?(event: 'resize', listener: () => void): unknown;
  off?(event: 'resize', listener: () => void): unknown;
}

/** The used part of process.stdin. */
export interface Input {
  readonly isTTY?: boolean | undefined;
  /** With raw input a terminal delivers each key at once, and no key is a signal. */
  setRawMode?(isRaw: boolean): unknown;
  on(event: 'data', listener: (chunk: Buffer | string) => void): unknown;
  off(event: 'data', listener: (chunk: Buffer | string) => void): unknown;
  pause(): unknown;
}

interface Declaration<Known extends Flags> {
  /** The description of the command, below the summary of its row in table.ts. */
  readonly about: string;
  readonly flags: Known;
  /** The names in the help: `FILE`, `[FILE]` for an optional operand, `FILE...` for one or more. */
  readonly operands?: readonly string[];
  /** At least one example. `run` follows the program's name. */
  readonly examples: readonly { readonly to: string; readonly run: string }[];
  /** The exit codes: the sentence of EXIT_CODES, or the meaning for this command. */
  readonly exits: Partial<Readonly<Record<ExitCode, string>>>;
  /**
   * @throws UsageError for mistakes that flags cannot express
   * @throws CommandFailure if the command could not start
   * @throws the reason of `interrupted`, or an AbortError, if the command was interrupted
   */
  readonly run: (given: Given<Known>, terminal: Terminal) => Promise<ExitCode>;
}

/** A command in the table of commands; its file is loaded only for its use. */
export interface Row {
  readonly name: string;
  /** The summary in one line; it completes "registry-packages-proxy NAME: …". */
  readonly summary: string;
  load(): Promise<Command>;
}

/** A declaration with the parser of its flags. */
export interface Command extends Omit<Declaration<Flags>, 'run'> {
  /** @throws UsageError if `args` are not its flags and operands, and the errors of its declaration */
  readonly run: (args: readonly string[], terminal: Terminal) => Promise<ExitCode>;
}

/**
 * Defines a command. A new command needs a file here with `command({ … })` of its flags, operands, help and `run`; for
 * settings or other adapters, a file in `src/infrastructure/commands`; its row in table.ts there; and its section in
 * docs/command-line.md.
 */
export function command<const Known extends Flags>(declaration: Declaration<Known>): Command {
  const { flags, operands = [], run } = declaration;
  return {
    ...declaration,
    run: async (args, terminal) => run(parseFlags(args, flags, operands), terminal),
  };
}

export const EXIT_CODE = {
  /** The command succeeded; `serve` was stopped by a signal. */
  done: 0,
  /** The command did no work. */
  refused: 1,
  /** The command did its work, and found or caused a fault. */
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

/** The command line is wrong. The message is a sentence for the user. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A failure such as a missing directory or wrong settings. The message is a sentence for the operator. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
}

export class SettingsError extends CommandFailure {
  /** Each line is `file:line: setting: mistake`. */
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

/** The flag of each command that prints a result for people. docs/schemas has a schema for each document. */
export const JSON_FLAG = { type: 'boolean', about: 'print the result as one JSON document instead' } as const;

/** The flags of the existing implementation, for each command with settings. */
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

/** Writes one document on one line, so that the documents of several runs can be separated. */
export function writeJson(stdout: Output, document: object): void {
  stdout.write(`${JSON.stringify(document)}\n`);
}

export type Flags = Readonly<Record<string, Flag>>;

/** The value of an absent flag is undefined. */
export type Values<Known extends Flags> = {
  readonly [Name in keyof Known]?: Known[Name]['type'] extends 'boolean' ? boolean : string;
};

interface Given<Known extends Flags> {
  readonly flags: Values<Known>;
  readonly operands: readonly string[];
}

/** The last of repeated flags counts. Go's `--name=true` and `--name=false` work. @throws UsageError */
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

/** Returns the first sentence, without Node's advice for programmers. */
function firstSentence(message: string): string {
  return (message.split('\n', 1)[0] ?? message).replace(/\.$/, '');
}

/** A text with more changes than these is a different word. */
const MOST_CHANGES = 3;

/** Returns `, did you mean "serve"?`, or an empty text if no name is similar. */
export function didYouMean(typed: string, names: readonly string[]): string {
  const candidates = names
    .map((name) => ({ name, distance: name.startsWith(typed) ? 0 : changes(typed, name) }))
    .filter(({ name, distance }) => distance <= Math.min(MOST_CHANGES, name.length / 3))
    .sort((a, b) => a.distance - b.distance);
  const nearest = candidates[0]?.name;
  return nearest === undefined ? '' : `, did you mean ${nearest}?`;
}

/** Returns the number of letters to insert, remove or replace (Levenshtein). */
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

/** @throws UsageError without the text */
export function parseServiceUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.href !== `${url.origin}/`) {
    throw new UsageError('--url must be http://HOST:PORT or https://HOST:PORT');
  }
  return url;
}
