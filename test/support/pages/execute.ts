/** Runs all commands of a page in order in one shell, and compares their output with that of the page. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type Block, type Page } from './page.ts';
import { Sandbox } from './sandbox.ts';

/** The time for a background program to print its expected line, in deciseconds. The longest starts a cluster. */
const READY_TENTHS = 1800;
const PAGE_TIMEOUT_MS = 300_000;

export interface ExecuteOptions {
  /** Programs by name, in addition to those of the machine. */
  readonly programs?: Readonly<Record<string, string>>;
  /** A page whose commands and files run first. */
  readonly after?: Page | undefined;
  /** The command that runs the shell in the sandbox. */
  readonly under?: readonly string[];
}

/** Rejects with the first block that fails or whose output differs from the page. */
export async function executePage(page: Page, options: ExecuteOptions = {}): Promise<void> {
  const { programs = {}, after, under = [] } = options;
  const pages = [...(after === undefined ? [] : [after]), page];
  const blocks = pages
    .flatMap(({ path, commands }) => commands.map((block) => ({ path, ...block })))
    .filter(({ execution }) => execution.how !== 'skipped');
  const sandbox = Sandbox.make(!blocks.some(({ text }) => /^npm ci\b/m.test(text)), programs);
  try {
    for (const [name, text] of pages.flatMap(({ files }) => [...files]))
      writeFileSync(join(sandbox.directory, name), `${text}\n`);
    const logs = join(sandbox.directory, '../logs');
    mkdirSync(logs);
    const script = join(logs, 'script');
    writeFileSync(script, `set -euo pipefail\n${blocks.map((block) => scriptOf(block, logs)).join('\n')}\n`);
    const failure = await run(sandbox, [...under, 'bash', '--posix', script]);
    const begun = blocks.filter((block) => existsSync(logOf(block, logs)));
    for (const block of begun) {
      const output = readFileSync(logOf(block, logs), 'utf8');
      const where = `${block.path}:${String(block.line)}`;
      if (failure !== undefined && block === begun.at(-1)) throw new Error(`${where} ${failure}\n${output}`);
      if (block.output !== undefined && !matches(output, block.output)) {
        throw new Error(`${where} prints\n${output}\ninstead of\n${block.output}`);
      }
    }
    if (failure !== undefined) throw new Error(`${page.path} ${failure}`);
  } finally {
    sandbox.remove();
  }
}

type PlacedBlock = Block & Pick<Page, 'path'>;

const logOf = ({ path, line }: PlacedBlock, logs: string): string => join(logs, `${basename(path)}:${String(line)}`);

function scriptOf(block: PlacedBlock, logs: string): string {
  const { execution, text } = block;
  const output = `>${logOf(block, logs)} 2>&1`;
  switch (execution.how) {
    case 'skipped':
      return '';
    case 'succeeds':
      return `{\n${text}\n} ${output}`;
    case 'fails':
      // A subshell, in which `set -e` applies.
      return `(\n${text}\n) ${output} &\nif wait "$!"; then exit 99; fi`;
    case 'stays': {
      const isReady = `grep -sqF '${execution.until}' ${logOf(block, logs)}`;
      const wait = `kill -0 "$!" && [ "$tenths" -gt 0 ] && sleep 0.1 && tenths=$((tenths - 1)) || exit 98`;
      return `(\n${text}\n) ${output} &\ntenths=${String(READY_TENTHS)}\nuntil ${isReady}; do ${wait}; done`;
    }
  }
}

/** Undefined after success, otherwise how the command ended. */
function run(sandbox: Sandbox, command: readonly string[]): Promise<string | undefined> {
  const [program, ...args] = sandbox.wrap(command);
  const options = { cwd: sandbox.directory, env: sandbox.environment(), timeout: PAGE_TIMEOUT_MS };
  return new Promise((resolve) => {
    execFile(program, args, options, (error, stdout, stderr) => {
      const code = error?.code ?? error?.signal;
      const how =
        { 98: 'does not say what it shall', 99: 'does not fail' }[String(code)] ?? `ends with ${String(code)}`;
      resolve(error === null ? undefined : `${how}\n${stdout}${stderr}`);
    });
  });
}

/** `…` stands for anything in a line, and on a line of its own for any number of lines. */
export function matches(output: string, shown: string): boolean {
  const pattern = shown
    .split('\n')
    .map((line) => (line.trim() === '…' ? '(?:.*\n)*?' : `${line.split('…').map(RegExp.escape).join('.*')}\n`))
    .join('');
  return new RegExp(`^${pattern}$`).test(`${output.trimEnd()}\n`);
}
