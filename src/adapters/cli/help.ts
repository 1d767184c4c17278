/** Help texts, out of what commands declare; docs/command-line.md is compared with them. */
import type { Command, Row } from './command.ts';
import { EXIT_CODES } from './exit-code.ts';
import type { Flags } from './flags.ts';

const PROGRAM = 'registry-packages-proxy';
/** The columns of the usual terminal. Examples can be longer: they are to be copied. */
const WIDTH = 80;

export function programHelp(rows: readonly Row[]): string {
  return `Usage: ${PROGRAM} [COMMAND] [flags]

Serves packages, published as OCI images, by digest, from a local cache or out
of a registry.

Commands:
${columns(rows.map(({ name, summary }) => [name, summary]))}
Without a command it serves. "${PROGRAM} help COMMAND", or
COMMAND --help, says more and has examples.

  --help, -h    this text, or a command's
  --version     which version this is

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

/** Two columns, the second wrapped below itself. */
function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  const indent = ' '.repeat(width + 6);
  return rows.map(([left, right]) => `  ${left.padEnd(width)}    ${wrap(right, indent)}\n`).join('');
}

/** Paragraphs stay paragraphs; lines that begin with a space stay as they are. */
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
