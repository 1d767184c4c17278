/** A command of the command line, and how one is added. */
import { type Flags, type Given, parseFlags } from './flags.ts';
import type { ExitCode } from './exit-code.ts';

/** The process, as values that program.ts reads. Results go to `stdout`, errors and progress to `stderr`. */
export interface Terminal {
  readonly stdout: Output;
  readonly stderr: Output;
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
  write(text: string): unknown;
}

export interface Declaration<Known extends Flags> {
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
   * @throws CommandFailure when it could not begin
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
 * To add a command: a file in `src/infrastructure/commands` that exports what `command({ … })` makes of its flags,
 * operands, help and `run`; its row in table.ts there; its section in docs/command-line.md.
 */
export function command<const Known extends Flags>(declaration: Declaration<Known>): Command {
  const { flags, operands = [], run } = declaration;
  return {
    ...declaration,
    run: async (args, terminal) => run(parseFlags(args, flags, operands), terminal),
  };
}
