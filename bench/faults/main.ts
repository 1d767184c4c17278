/** `npm run bench:faults`: injects faults of registries, disks and clients, and writes docs/reliability.md. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { format } from 'prettier';
import { Workspace } from '../workspace.ts';
import { type Fault, type Seen } from './fault.ts';
import { FaultBench } from './fault-bench.ts';
import { FAULTS } from './faults.ts';
import { Random } from './traffic/random.ts';
import { type Outcome, renderReport } from './report.ts';

const HELP = `Usage: npm run bench:faults -- [flags]

  --long          repeat each fault many more times; takes an hour instead of minutes
  --only ID,...   run these faults only; writes a document only with --output
  --seed N        repeat the run that had this seed
  --output FILE   write the document to FILE instead of docs/reliability.md
  --help

Faults:
${FAULTS.map(({ id, what }) => `  ${id.padEnd(5)} ${what}`).join('\n')}
`;

const ROOT = join(import.meta.dirname, '../..');
/** The time limit of one fault, so that a fault that hangs ends. */
const QUICK_LIMIT_MS = 90_000;
const LONG_LIMIT_MS = 4 * 3600_000;
const CLEAR_LIMIT_MS = 20_000;
const SHOWN_VIOLATIONS = 10;

const { values } = parseArgs({
  options: {
    long: { type: 'boolean', default: false },
    only: { type: 'string' },
    seed: { type: 'string' },
    output: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) say(HELP);
else await main();

async function main(): Promise<void> {
  const faults = chosen(values.only?.split(','));
  const seed = values.seed === undefined ? Random.freshSeed() : Number(values.seed);
  if (!Number.isSafeInteger(seed)) throw new Error('--seed takes a whole number');
  say(`seed ${String(seed)}\n`);
  const outcomes: Outcome[] = [];
  let samples = 0;
  for (const fault of faults) {
    let done = await run(fault, seed);
    show(done.outcome, seed);
    if (done.isFigureOnly && values.only === undefined) {
      // A busy machine can cause a missed limit of time or size, so it counts only if it is missed twice. A broken invariant always counts.
      say('      once more\n');
      done = await run(fault, seed);
      show(done.outcome, seed);
    }
    outcomes.push(done.outcome);
    samples += done.looks;
  }
  const output = values.output ?? (values.only === undefined ? join(ROOT, 'docs/reliability.md') : undefined);
  if (output !== undefined) {
    const report = renderReport({ seed, isLong: values.long, outcomes, samples });
    await writeFile(output, await format(report, { parser: 'markdown', printWidth: 120 }));
  }
  const failed = outcomes.filter(({ seen }) => seen.violations.length > 0).length;
  say(`${String(outcomes.length - failed)} passed, ${String(failed)} failed\n`);
  // Timers of a fault that hit its time limit must not keep the process alive.
  process.exit(failed > 0 ? 1 : 0);
}

function chosen(ids: readonly string[] | undefined): readonly Fault[] {
  if (ids === undefined) return FAULTS.filter(({ isExtra }) => isExtra !== true);
  return ids.map((wanted) => {
    const fault = FAULTS.find(({ id }) => id === wanted);
    if (fault === undefined) throw new Error(`unknown fault "${wanted}"; see --help`);
    return fault;
  });
}

interface Done {
  readonly outcome: Outcome;
  readonly looks: number;
  /** A fault missed a limit, but no invariant is broken. */
  readonly isFigureOnly: boolean;
}

/** Runs the fault in its own workspace, so that it does not find files of another fault. */
async function run(fault: Fault, seed: number): Promise<Done> {
  const began = performance.now();
  const workspace = await Workspace.create();
  // Each fault has its own random source, so its values do not depend on the other faults of the run.
  const bench = new FaultBench(workspace, `${String(seed)}/${fault.id}`, values.long);
  const leave = (): void => {
    bench.killAll();
    workspace.close();
  };
  process.once('exit', leave);
  const end = (): void => process.exit(130);
  process.once('SIGINT', end).once('SIGTERM', end);
  const seen = await within(
    values.long ? LONG_LIMIT_MS : (fault.limitMs ?? QUICK_LIMIT_MS),
    observe(fault, bench),
  ).catch((error: unknown): Seen => ({ injected: 0, figures: 'not completed', violations: [textOf(error)] }));
  // The time limit also applies to the release of resources.
  await within(CLEAR_LIMIT_MS, bench.clear()).catch((error: unknown) => {
    bench.report(textOf(error));
    bench.killAll();
  });
  workspace.close();
  process.off('exit', leave).off('SIGINT', end).off('SIGTERM', end);
  const violations = [...seen.violations, ...bench.violations];
  const seconds = (performance.now() - began) / 1000;
  const isFigureOnly = seen.violations.length > 0 && bench.violations.length === 0;
  return { outcome: { fault, seen: { ...seen, violations }, seconds }, looks: bench.samples, isFigureOnly };
}

async function observe(fault: Fault, bench: FaultBench): Promise<Seen> {
  const seen = await fault.run(bench);
  await bench.conclude();
  return seen;
}

async function within<Value>(limitMs: number, work: Promise<Value>): Promise<Value> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    reject(new Error(`not over in ${String(limitMs / 1000)} s`));
  }, limitMs);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

function show({ fault, seen, seconds }: Outcome, seed: number): void {
  const { violations } = seen;
  const verdict = violations.length === 0 ? 'held' : 'VIOLATED';
  say(`${fault.id.padEnd(5)} ${verdict}, ${String(seen.injected)} times, ${seconds.toFixed(1)} s: ${seen.figures}\n`);
  for (const violation of violations.slice(0, SHOWN_VIOLATIONS)) say(`      ${violation}\n`);
  if (violations.length > SHOWN_VIOLATIONS) say(`      … ${String(violations.length)} in all\n`);
  if (violations.length === 0) return;
  const long = values.long ? ' --long' : '';
  say(`      repeat: npm run bench:faults -- --only ${fault.id} --seed ${String(seed)}${long}\n`);
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function say(text: string): void {
  process.stdout.write(text);
}
