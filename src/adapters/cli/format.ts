/** Formats amounts, times and errors for people. */
import { DigestMismatchError, errnoOf } from '../../domain/errors.ts';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** At most three digits before the unit, and one after the point for values below ten: `0 B`, `9.8 MiB`, `312 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // An amount that rounds to 1024 of a unit is 1 of the next.
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

/** The longest printed chain of causes; deeper causes have never helped. */
const MAX_CAUSES = 5;
/** The largest number of listed failures, as many as a person reads. */
const MAX_LINES = 50;

/** Returns the messages of the error and its causes, which the log has, too: none of them has a secret. */
export function formatError(error: unknown): string {
  const messages: string[] = [];
  for (let cause = error; cause instanceof Error && messages.length < MAX_CAUSES; { cause } = cause) {
    messages.push(messageOf(cause));
  }
  return messages.join(': ') || 'unknown error';
}

function messageOf(error: Error): string {
  // Otherwise the message of a cause has these facts and the host.
  if (error instanceof DigestMismatchError && error.cause === undefined) {
    return `${error.message}: expected ${error.expected}, found ${error.found}`;
  }
  return error.message;
}

/** Returns the first lines, and the number of the others. */
export function abridged(lines: readonly string[]): string {
  const rest = lines.length - MAX_LINES;
  return (rest <= 0 ? lines : [...lines.slice(0, MAX_LINES), `… and ${String(rest)} more`]).join('\n');
}

/** Aligns the labels in one column and their texts in the next. */
export function alignRows(rows: readonly (readonly [label: string, text: string])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length)) + 2;
  return rows.map(([label, text]) => `${label.padEnd(width)}${text}\n`).join('');
}

/** Replaces control characters in an external text, because they would control the terminal. */
export function printable(text: string): string {
  return text.replaceAll(/[^\P{C}\n]/gu, '?');
}

/** Returns the code of an error of Node, such as `ENOENT`. */
export function codeOf(error: unknown): string {
  return errnoOf(error) ?? formatError(error);
}
