/** `npm run bench:fleet`: simulates an upgrade, and prints the tables or writes them into docs/scaling.md. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { format } from 'prettier';
import { renderMarkdown, renderText } from '../report.ts';
import type { Table } from '../scenario.ts';
import { fleetTables, NODES } from './tables.ts';

const PAGE = join(import.meta.dirname, '../../docs/scaling.md');
const BEGIN = '<!-- written by: npm run bench:fleet -- --write -->';
const END = '<!-- end of what is written -->';
const HELP = `Usage: npm run bench:fleet -- [flags]

  --nodes N,...  numbers of nodes; ${NODES.join(',')} by default
  --write        write the tables into docs/scaling.md
  --check        fail if docs/scaling.md has other tables
  --help

Compares the simulation with real clients, replicas and sidecars: npm run bench -- --only fleet
`;

const { values } = parseArgs({
  options: {
    nodes: { type: 'string' },
    write: { type: 'boolean' },
    check: { type: 'boolean' },
    help: { type: 'boolean' },
  },
});
if (values.help) process.stdout.write(HELP);
else if (values.write) writeFileSync(PAGE, await pageWith(fleetTables()));
else if (values.check) await check();
else process.stdout.write(fleetTables(values.nodes?.split(',').map(count)).map(renderText).join('\n'));

function count(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new Error(`--nodes: "${text}" is not a number of nodes`);
  return Number(text);
}

async function check(): Promise<void> {
  if ((await pageWith(fleetTables())) === readFileSync(PAGE, 'utf8')) return;
  process.stderr.write('the tables in docs/scaling.md are not up to date: run npm run bench:fleet -- --write\n');
  process.exitCode = 1;
}

async function pageWith(tables: readonly Table[]): Promise<string> {
  const [before, behind] = readFileSync(PAGE, 'utf8').split(BEGIN);
  const after = behind?.split(END)[1];
  if (before === undefined || after === undefined)
    throw new Error(`docs/scaling.md does not have the lines "${BEGIN}" and "${END}"`);
  const written = tables.map((table) => `### ${sentence(table.title)}\n\n${renderMarkdown(table)}`).join('\n\n');
  const page = `${before}${BEGIN}\n\n${written}\n\n${END}${after}`;
  return format(page, { parser: 'markdown', printWidth: 120 });
}

function sentence(title: string): string {
  return title.charAt(0).toUpperCase() + title.slice(1);
}
