/** An error and its causes as one line for an operator. */
import { DigestMismatchError } from '../../domain/errors.ts';

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
  if (error instanceof DigestMismatchError) {
    return `${error.message}: expected ${error.expected}, found ${error.found}`;
  }
  return error.message;
}

/** The first lines, and how many more there are. */
export function abridged(lines: readonly string[]): string {
  const rest = lines.length - MAX_LINES;
  return (rest <= 0 ? lines : [...lines.slice(0, MAX_LINES), `… and ${String(rest)} more`]).join('\n');
}
