/** `npm run release:check`: checks whether this checkout can be released as its version (docs/releasing.md). */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Answer, askAdvisories, askSignatures } from './release/advisories.ts';
import { judgeChangelog } from './release/changelog.ts';
import { judgeLicences, licencePage, licencesOf, readLock } from './release/licences.ts';
import { judgeNodeBinaries } from './release/node-binaries.ts';
import { judgeVersions, readVersion } from './release/versions.ts';

export interface Check {
  readonly what: string;
  readonly run: (root: string) => Answer | Promise<Answer>;
}

/** The pages with measurements, and the script that writes each of them. */
const MEASURED = { 'docs/performance.md': 'bench', 'docs/reliability.md': 'bench:faults' };

export const CHECKS: readonly Check[] = [
  { what: 'the working tree is committed', run: (root) => git(root, 'status', '--porcelain') },
  {
    what: 'the version has no tag yet',
    run: (root) => git(root, 'tag', '--list', `v${readVersion(root)}`),
  },
  { what: 'the version is the same everywhere', run: judgeVersions },
  {
    what: 'the changelog has a section for it',
    run: (root) => {
      const today = new Date().toISOString().slice(0, 10);
      return judgeChangelog(read(root, 'CHANGELOG.md'), readVersion(root), today);
    },
  },
  { what: 'the licences are listed and allowed', run: checkLicences },
  { what: 'the Node of npm is that of its release', run: (root) => judgeNodeBinaries(root) },
  { what: 'figures come from their benchmarks, without a violation', run: checkFigures },
  { what: 'no advisory against what runs', run: askAdvisories },
  { what: 'packages are signed by their registry', run: askSignatures },
];

async function checkLicences(root: string): Promise<Answer> {
  const licences = licencesOf(readLock(root));
  const isListed = read(root, 'docs/licences.md') === (await licencePage(licences));
  return [...judgeLicences(licences), ...(isListed ? [] : ['docs/licences.md is out of date: npm run licences'])];
}

function checkFigures(root: string): Answer {
  const { scripts } = JSON.parse(read(root, 'package.json')) as { scripts: Record<string, string> };
  return Object.entries(MEASURED).flatMap(([page, script]) => [
    ...(script in scripts && read(root, page).includes(`\`npm run ${script}\``)
      ? []
      : [`${page}: npm run ${script} is not where it comes from`]),
    ...(/\bviolated\b/.test(read(root, page)) ? [`${page}: an invariant is violated`] : []),
  ]);
}

function read(root: string, file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

function git(root: string, ...args: string[]): string[] {
  return execFileSync('git', args, { cwd: root, encoding: 'utf8' })
    .split('\n')
    .filter((line) => line !== '');
}

/** Writes a line for each check and each problem; resolves with true if there is no problem. */
export async function checkRelease(
  root: string,
  checks: readonly Check[],
  write: (line: string) => void,
): Promise<boolean> {
  let isReady = true;
  for (const { what, run } of checks) {
    const problems = await run(root);
    isReady &&= problems === undefined || problems.length === 0;
    const verdict = problems === undefined ? 'not known: nobody answered' : problems.length === 0 ? 'yes' : 'no';
    write(`${what}: ${verdict}`);
    for (const problem of problems ?? []) write(`  ${problem}`);
  }
  return isReady;
}

if (import.meta.main) {
  const root = join(import.meta.dirname, '..');
  const isReady = await checkRelease(root, CHECKS, (line) => process.stdout.write(`${line}\n`));
  process.stdout.write(`\n${readVersion(root)} ${isReady ? 'can' : 'cannot'} be released\n`);
  process.exitCode = isReady ? 0 : 1;
}
