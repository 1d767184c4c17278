/** Amounts, times and errors for people. */
import { DigestMismatchError, errnoOf } from '../../domain/errors.ts';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Three digits at most before the unit, and one behind the point where it says something: `0 B`, `9.8 MiB`, `312 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // An amount that would be rounded to 1024 of a unit is 1 of the next.
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit] ?? ''}`;
}

/** `4 s`, `3 min 20 s`, `2 h 5 min`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${String(whole)} s`;
  if (whole < 3600) return `${String(Math.floor(whole / 60))} min ${String(whole % 60)} s`;
  return `${String(Math.floor(whole / 3600))} h ${String(Math.floor((whole % 3600) / 60))} min`;
}

/** The longest chain of causes that is shown; deeper causes have never helped. */
const MAX_CAUSES = 5;
/** The most failed packages that are listed; a person reads no more. */
const MAX_LINES = 50;

/** The error's message and those of what caused it, as they are logged too: none of them holds a secret. */
export function formatError(error: unknown): string {
  const messages: string[] = [];
  for (let cause = error; cause instanceof Error && messages.length < MAX_CAUSES; { cause } = cause) {
    messages.push(messageOf(cause));
  }
  return messages.join(': ') || 'unknown error';
}

function messageOf(error: Error): string {
  // A cause says it with the host.
  if (error instanceof DigestMismatchError && error.cause === undefined) {
    return `${error.message}: expected ${error.expected}, found ${error.found}`;
  }
  return error.message;
}

/** The first lines, and how many more there are. */
export function abridged(lines: readonly string[]): string {
  const rest = lines.length - MAX_LINES;
  return (rest <= 0 ? lines : [...lines.slice(0, MAX_LINES), `… and ${String(rest)} more`]).join('\n');
}

/** Labels in one column, what they name in the next. */
export function alignRows(rows: readonly (readonly [label: string, text: string])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length)) + 2;
  return rows.map(([label, text]) => `${label.padEnd(width)}${text}\n`).join('');
}

/** A text from elsewhere, which must not control the terminal. */
export function printable(text: string): string {
  return text.replaceAll(/[^\P{C}\n]/gu, '?');
}

/** The code of an error of Node: `ENOENT`. */
export function codeOf(error: unknown): string {
  return errnoOf(error) ?? formatError(error);
}
