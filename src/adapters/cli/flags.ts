/** The flags and operands of one command, out of the arguments behind its name. */
import { parseArgs } from 'node:util';
import { didYouMean } from './did-you-mean.ts';
import { UsageError } from './failures.ts';

export interface Flag {
  readonly type: 'string' | 'boolean';
  /** The placeholder of the value in the help, such as FILE. */
  readonly value?: string;
  readonly about: string;
}

export type Flags = Readonly<Record<string, Flag>>;

/** A flag that was not given is undefined. */
export type Values<Known extends Flags> = {
  readonly [Name in keyof Known]?: Known[Name]['type'] extends 'boolean' ? boolean : string;
};

export interface Given<Known extends Flags> {
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
  if (surplus !== undefined && !isOpen) throw new UsageError(`"${surplus}" is one argument too many`);
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
