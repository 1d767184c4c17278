/** The command line: finds and runs a command, and prints help. */
import { flagsOf } from './asks-to-serve.ts';
import {
  type Command,
  CommandFailure,
  didYouMean,
  EXIT_CODE,
  EXIT_CODES,
  type ExitCode,
  type Flags,
  type Row,
  SETTINGS_FLAGS,
  type Terminal,
  UsageError,
} from './command.ts';
import { meantFlag } from './meant-flag.ts';

type Request =
  | { readonly kind: 'version' }
  /** The help of the program if there is no row. */
  | { readonly kind: 'help'; readonly row?: Row }
  | { readonly kind: 'run'; readonly row: Row; readonly args: readonly string[] };

/** Runs the command that `args` name; a failure prints one sentence to `stderr`. Rejects only for bugs. */
export async function runCommandLine(
  args: readonly string[],
  terminal: Terminal,
  commands: readonly Row[],
): Promise<ExitCode> {
  const { stdout, stderr, interrupted } = terminal;
  try {
    const request = parseCommandLine(args, commands);
    switch (request.kind) {
      case 'version':
        stdout.write(`${terminal.version}\n`);
        return EXIT_CODE.done;
      case 'help':
        stdout.write(request.row ? commandHelp(request.row, await request.row.load()) : programHelp(commands));
        return EXIT_CODE.done;
      case 'run':
        return await (await request.row.load()).run(request.args, terminal);
    }
  } catch (error) {
    if (interrupted.aborted && isInterruption(error, interrupted)) return EXIT_CODE.interrupted;
    if (!(error instanceof UsageError || error instanceof CommandFailure)) throw error;
    stderr.write(`${error.message}\n${error instanceof UsageError ? `See ${seeAlso(args, commands)}--help.\n` : ''}`);
    return EXIT_CODE.refused;
  }
}

/** @throws UsageError */
export function parseCommandLine(args: readonly string[], commands: readonly Row[]): Request {
  const rowOf = (name: string): Row => findRow(name, commands);
  const [first, second] = args;
  const flags = flagsOf(args);
  if (first === 'help') return second === undefined ? { kind: 'help' } : { kind: 'help', row: rowOf(second) };
  const isNamed = first !== undefined && !first.startsWith('-');
  if (flags.includes('--help') || flags.includes('-h'))
    return isNamed ? { kind: 'help', row: rowOf(first) } : { kind: 'help' };
  if (flags.includes('--version')) return { kind: 'version' };
  return isNamed ? { kind: 'run', row: rowOf(first), args: args.slice(1) } : { kind: 'run', row: rowOf('serve'), args };
}

function findRow(name: string, commands: readonly Row[]): Row {
  const row = commands.find((candidate) => candidate.name === name);
  if (row !== undefined) return row;
  const names = commands.map((candidate) => candidate.name);
  // Without a command the program serves, so a file name may be a flag value for that.
  throw new UsageError(`there is no command ${name}${didYouMean(name, names) || meantFlag(name, SETTINGS_FLAGS)}`);
}

/** Returns the command for `--help`, if `args` name one. */
function seeAlso([first]: readonly string[], commands: readonly Row[]): string {
  return commands.some(({ name }) => name === first) ? `${String(first)} ` : '';
}

function isInterruption(error: unknown, signal: AbortSignal): boolean {
  return error === signal.reason || (error instanceof Error && error.name === 'AbortError');
}

const PROGRAM = 'registry-packages-proxy';
/** The usual width of a terminal. Examples can be longer, because users copy them. */
const WIDTH = 80;

export function programHelp(rows: readonly Row[]): string {
  return `Usage: ${PROGRAM} [COMMAND] [flags]

Serves packages, published as OCI images, by digest, from a local cache or a
registry.

Commands:
${columns(rows.map(({ name, summary }) => [name, summary]))}
Without a command it serves. "${PROGRAM} help COMMAND" and
COMMAND --help print the flags and examples of a command.

  --help, -h    print this text, or the help of a command
  --version     print the version

Exit status:
${columns(Object.entries(EXIT_CODES))}`;
}

export function commandHelp({ name, summary }: Row, { about, flags, operands = [], examples, exits }: Command): string {
  const hasFlags = Object.keys(flags).length > 0;
  const line = [PROGRAM, name === 'serve' ? '[serve]' : name, ...(hasFlags ? ['[flags]'] : []), ...operands].join(' ');
  return `Usage: ${line}

${capital(summary)}.

${wrap(about)}

${hasFlags ? `Flags:\n${columns(flagRows(flags))}\n` : ''}Examples:
${examples.map(({ to, run }) => `  # ${to}\n  ${PROGRAM} ${run}\n`).join('')}
Exit status:
${columns(Object.entries(exits))}`;
}

function flagRows(flags: Flags): [string, string][] {
  return Object.entries(flags).map(([name, { value, about }]) => [
    `--${name}${value === undefined ? '' : ` ${value}`}`,
    about,
  ]);
}

/** Formats two columns; the second one wraps in its own column. */
function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  const indent = ' '.repeat(width + 6);
  return rows.map(([left, right]) => `  ${left.padEnd(width)}    ${wrap(right, indent)}\n`).join('');
}

/** Keeps paragraphs; lines that begin with a space stay unchanged. */
function wrap(text: string, indent = ''): string {
  const lines = text.split('\n').flatMap((paragraph) => {
    if (paragraph.startsWith(' ')) return [paragraph];
    return paragraph.split(' ').reduce<string[]>((done, word) => {
      const last = done.pop();
      if (last === undefined) return [word];
      const longer = `${last} ${word}`;
      return indent.length + longer.length <= WIDTH ? [...done, longer] : [...done, last, word];
    }, []);
  });
  return lines.join(`\n${indent}`);
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
