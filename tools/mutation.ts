/**
 * `npm run mutation [-- FILE...]`: changes one place of the sources at a time and lists the changes that no test detects.
 * Stryker and its dependencies are 200 packages, so npx installs them and the project does not depend on them.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';

const STRYKER = ['@stryker-mutator/core@10.0.0', '@stryker-mutator/mocha-runner@10.0.0'];
/** The runner requires files of mocha without their extension, which is .cjs in mocha 12. */
const FIND_CJS = "data:text/javascript,import%20m%20from'node:module';m._extensions['.cjs']??=m._extensions['.js']";
const REPORTS = '.cache/mutation';

/** The files that protect integrity and secrets. arrival-worker.ts is missing, because Stryker does not support its thread. */
const SUBJECTS: readonly {
  readonly folder: string;
  readonly files: readonly string[];
  readonly specs: readonly string[];
}[] = [
  {
    folder: 'src/adapters/http/package',
    files: ['package-headers'],
    specs: ['test/unit/adapters/http/package/{}.test.ts'],
  },
  {
    folder: 'src/adapters/registry/auth',
    files: ['authorization', 'challenge', 'realm', 'token'],
    specs: ['test/unit/adapters/registry/auth/{}.test.ts', 'test/unit/adapters/registry/oci-registry-gateway.test.ts'],
  },
  {
    folder: 'src/adapters/registry',
    files: ['blob-download'],
    specs: ['test/unit/adapters/registry/{}.test.ts', 'test/unit/adapters/registry/oci-registry-gateway.test.ts'],
  },
  {
    folder: 'src/application',
    files: ['downloads', 'get-package', 'pass-through-reader', 'resumed-download', 'failover-reader'],
    specs: ['test/unit/application/*.test.ts'],
  },
  {
    folder: 'src/adapters/filesystem',
    files: [
      ...['arrival', 'block-file', 'file-reading', 'filesystem-package-store', 'growing-file'],
      ...['layout', 'ledger', 'open-files', 'access-times', 'startup-scan', 'scrubber'],
    ],
    specs: ['test/unit/adapters/filesystem/*.test.ts', 'test/contract/package-stores.test.ts'],
  },
  {
    folder: 'src/adapters/oci-layout',
    files: ['layout', 'oci-layout-writer'],
    specs: ['test/unit/adapters/oci-layout/*.test.ts', 'test/contract/oci-layout-writer.test.ts'],
  },
];

interface Report {
  readonly files: Readonly<Record<string, { readonly mutants: readonly { readonly status: string }[] }>>;
}

const { positionals } = parseArgs({ allowPositionals: true });
mkdirSync(REPORTS, { recursive: true });
process.stdout.write('| file | mutants | killed | survived |\n| --- | --: | --: | --: |\n');
for (const { folder, files, specs } of SUBJECTS) {
  for (const file of files) {
    const source = `${folder}/${file}.ts`;
    if (positionals.length > 0 && !positionals.includes(source)) continue;
    const report = mutate(
      source,
      specs.map((spec) => spec.replace('{}', file)),
    );
    process.stdout.write(`${rowOf(source, report)}\n`);
  }
}

/** Writes the report of each survivor to `.cache/mutation/<file>.txt`. */
function mutate(source: string, specs: readonly string[]): Report {
  const name = basename(source, '.ts');
  const config = join(REPORTS, `${name}.config.json`);
  const report = join(REPORTS, `${name}.json`);
  const settings = {
    testRunner: 'mocha',
    plugins: ['@stryker-mutator/mocha-runner'],
    mochaOptions: { config: '.mocharc.json', spec: specs },
    mutate: [source],
    coverageAnalysis: 'perTest',
    concurrency: 1,
    timeoutMS: 3000,
    // A mutant can leave open handles or memory behind.
    maxTestRunnerReuse: 40,
    // Node strips the types, and nothing checks them here.
    tsconfigFile: 'none',
    ignorePatterns: ['.cache', 'bench', 'charts', 'coverage', 'dist', 'docs'],
    tempDirName: join(REPORTS, `${name}.sandbox`),
    reporters: ['clear-text', 'json'],
    clearTextReporter: { allowColor: false, logTests: false },
    jsonReporter: { fileName: report },
  };
  writeFileSync(config, JSON.stringify(settings));
  const packages = STRYKER.map((name) => `--package=${name}`);
  const { stdout, stderr, status } = spawnSync('npx', ['--yes', ...packages, 'stryker', 'run', config], {
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: `--import=${FIND_CJS}` },
  });
  writeFileSync(join(REPORTS, `${name}.txt`), stdout);
  if (status !== 0) throw new Error(`Stryker failed:\n${stdout.slice(-2000)}${stderr.slice(-2000)}`);
  return JSON.parse(readFileSync(report, 'utf8')) as Report;
}

function rowOf(source: string, { files }: Report): string {
  const statuses = Object.values(files).flatMap(({ mutants }) => mutants.map(({ status }) => status));
  const count = (...wanted: string[]): number => statuses.filter((status) => wanted.includes(status)).length;
  const cells = [statuses.length, count('Killed', 'Timeout'), count('Survived', 'NoCoverage')];
  return `| \`${source}\` | ${cells.join(' | ')} |`;
}
