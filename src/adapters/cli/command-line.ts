/** The command line: which command is meant, and how one ends. */
import { flagsOf } from './asks-to-serve.ts';
import type { Row, Terminal } from './command.ts';
import { didYouMean } from './did-you-mean.ts';
import { EXIT_CODE, type ExitCode } from './exit-code.ts';
import { CommandFailure, UsageError } from './failures.ts';
import { commandHelp, programHelp } from './help.ts';

type Request =
  | { readonly kind: 'version' }
  /** Of the program when there is no command. */
  | { readonly kind: 'help'; readonly row?: Row }
  | { readonly kind: 'run'; readonly row: Row; readonly args: readonly string[] };

/** Runs the command that `args` name; a failure is one sentence on `stderr`. Rejects for bugs only. */
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
  throw new UsageError(`there is no command ${name}${didYouMean(name, names)}`);
}

/** The command before `--help`, if `args` name one. */
function seeAlso([first]: readonly string[], commands: readonly Row[]): string {
  return commands.some(({ name }) => name === first) ? `${String(first)} ` : '';
}

function isInterruption(error: unknown, signal: AbortSignal): boolean {
  return error === signal.reason || (error instanceof Error && error.name === 'AbortError');
}
