/** Connects the process to the command line, and its exit code to the process. */
import { interrupted } from './interruption.ts';
import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { dirname, join } from 'node:path';
import { runCommandLine } from '../adapters/cli/command-line.ts';
import { COMMANDS } from './commands/table.ts';
import { EXIT_CODE } from '../adapters/cli/command.ts';

/** The folder of package.json and config/, both for the sources and for the bundle. */
const ROOT = dirname(findPackageJSON('..', import.meta.url) ?? '');

const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
process.stdout.once('error', ({ code, message }: NodeJS.ErrnoException) => {
  // The reader of the output has left, as `head` does.
  if (code === 'EPIPE') process.exit(EXIT_CODE.refused);
  process.stderr.write(`standard output: ${code ?? message}\n`);
  process.exit(EXIT_CODE.faulty);
});

const terminal = {
  stdout: process.stdout,
  stderr: process.stderr,
  get stdin() {
    return process.stdin;
  },
  environment: process.env,
  version,
  defaultSettings: join(ROOT, 'config/default.yaml'),
  interrupted,
};
// There is no top-level await, because the bundle is a script (bundle/start.ts).
void runCommandLine(process.argv.slice(2), terminal, COMMANDS).then((code) => {
  // The exit waits for the end of the writes, after a signal for a second; a failed write is handled above.
  if (interrupted.aborted) setTimeout(() => process.exit(code), 1000);
  process.stdout.write('', (error) => error ?? process.exit(code));
});
