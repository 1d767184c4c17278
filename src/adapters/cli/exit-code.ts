/** With what number the program ends; docs/command-line.md and every help text have this table. */

export const EXIT_CODE = {
  /** All that was asked for; of `serve`, a stop by signal. */
  done: 0,
  /** Nothing was done. */
  refused: 1,
  /** It was done, and not all of it is as it should be. */
  faulty: 2,
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT_CODE)[keyof typeof EXIT_CODE];

export const EXIT_CODES: Readonly<Record<ExitCode, string>> = {
  0: 'done',
  1: 'wrong flags or settings, or it could not begin',
  2: 'something was found damaged, missing or unusable, or not everything could be done',
  130: 'ended by SIGINT or SIGTERM',
};
