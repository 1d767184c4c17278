/** The reasons for which a command does not begin; any other error that it throws is a bug. */

/** The command line is wrong. The message is a sentence for its author. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A directory is missing, a registry does not answer, settings are wrong. The message is a sentence for an operator. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
}
