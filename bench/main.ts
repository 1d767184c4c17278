/** `npm run bench`: runs the scenarios, prints their results and writes docs/performance.md. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { format } from 'prettier';
import { loadGenerator } from './load-generator.ts';
import { machineFacts } from './machine.ts';
import { Origin } from './peers/origin.ts';
import { findPrograms, type Programs, ROOT } from './peers/programs.ts';
import { startPeers } from './peers/start-peers.ts';
import { broken, type Outcome, renderReport, renderText, targetTable } from './report.ts';
import type { Bench, Effort, Scenario } from './scenario.ts';
import { SCENARIOS } from './scenarios/scenarios.ts';
import { Workspace } from './workspace.ts';

const HELP = `Usage: npm run bench -- [flags]

  --full             more and longer rounds, and the scenario "growth"
  --only NAME,...    run these scenarios only; writes a document only with --output
  --service FILE     the program to measure: src/infrastructure/main.ts, or dist/start.mjs (the default if it exists)
  --output FILE      write the document to FILE instead of docs/performance.md
  --help

Scenarios: ${SCENARIOS.map(({ name }) => name).join(', ')}
`;

const QUICK: Effort = { isFull: false, rounds: 3, longRounds: 2, seconds: 0.4 };
const FULL: Effort = { isFull: true, rounds: 5, longRounds: 3, seconds: 1 };

const { values } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    only: { type: 'string' },
    service: { type: 'string' },
    output: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) say(HELP);
else await main();

async function main(): Promise<void> {
  const scenarios = chosen(values.only?.split(','));
  const isPartial = values.only !== undefined;
  const effort = values.full ? FULL : QUICK;
  const workspace = await Workspace.create();
  // At any exit all processes end and all folders are removed.
  process.once('exit', () => {
    workspace.close();
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
  const programs = await findPrograms(workspace, values.service);
  const facts = machineFacts(programs);
  say([...facts, ...programs.missing, ''].join('\n'));
  const bench = benchOf(workspace, programs, effort);
  const outcomes: Outcome[] = [];
  for (const scenario of scenarios) outcomes.push(await run(scenario, bench));
  say(`\n${renderText(targetTable(outcomes, isPartial))}`);
  for (const { what } of broken(outcomes)) {
    process.exitCode = 1;
    say(`missed a target that must hold: ${what}\n`);
  }
  const output = values.output ?? (isPartial ? undefined : join(ROOT, 'docs/performance.md'));
  if (output === undefined) return;
  const report = renderReport({ ...effort, facts, missing: programs.missing, isPartial, outcomes });
  await writeFile(output, await format(report, { parser: 'markdown', printWidth: 120 }));
}

function chosen(names: readonly string[] | undefined): readonly Scenario[] {
  if (names === undefined) return SCENARIOS.filter(({ isLong = false }) => values.full || !isLong);
  return names.map((wanted) => {
    const scenario = SCENARIOS.find(({ name }) => name === wanted);
    if (scenario === undefined) throw new Error(`unknown scenario "${wanted}"; see --help`);
    return scenario;
  });
}

function benchOf(workspace: Workspace, programs: Programs, effort: Effort): Bench {
  const { registry } = programs;
  return {
    workspace,
    programs,
    load: loadGenerator(programs.load, workspace.closing),
    effort,
    startOrigin: async () => (registry === undefined ? undefined : Origin.start(workspace, registry)),
    startPeers: (names, options) => startPeers(programs, names, { workspace, ...options }),
  };
}

/** Runs a scenario. A failure is reported, and the other scenarios still run. */
async function run(scenario: Scenario, bench: Bench): Promise<Outcome> {
  const began = performance.now();
  try {
    const findings = await scenario.run(bench);
    for (const table of findings.tables) say(`\n${renderText(table)}`);
    for (const note of findings.notes ?? []) say(`${note}\n`);
    return { scenario, findings };
  } catch (error) {
    process.exitCode = 1;
    const failure = error instanceof Error ? error : new Error(String(error));
    say(`\n${scenario.name} failed: ${failure.stack ?? failure.message}\n`);
    return { scenario, findings: failure };
  } finally {
    await bench.workspace.clear();
    say(`${scenario.name}: ${((performance.now() - began) / 1000).toFixed(1)} s\n`);
  }
}

function say(text: string): void {
  process.stdout.write(text);
}
