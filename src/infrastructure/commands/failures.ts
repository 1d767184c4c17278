/** Why a command was not begun; anything else that it throws is a bug. */

/** The command line is wrong. The message is a sentence for its author. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The world was wrong: a directory is not there, a registry does not answer. A sentence for an operator. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
}
