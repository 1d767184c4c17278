// Leaves global names: loaded here, they are no leak of a test that loads a command.
import 'zod';
import { expect } from 'chai';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { FAULTS } from '../../bench/faults/faults.ts';
import { problemOf, RefusedError } from '../../src/adapters/http/server/problem.ts';
import { type ErrorCode, PackageError } from '../../src/domain/errors.ts';
import { EXIT_CODES } from '../../src/adapters/cli/command.ts';
import { commandHelp } from '../../src/adapters/cli/command-line.ts';
import { COMMANDS } from '../../src/infrastructure/commands/table.ts';
import { tableBehind } from '../support/markdown-table.ts';
import { readPages } from '../support/pages/page.ts';
import { ROOT, sourceFiles } from './source-files.ts';

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** Each setting by its dotted name. */
function flatten(value: unknown, name = ''): [string, unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [[name, value]];
  return Object.entries(value).flatMap(([key, below]) => flatten(below, name === '' ? key : `${name}.${key}`));
}

const unquoted = (cell = ''): string => cell.replaceAll('`', '');

/** A file or a folder and, behind `#`, a heading of it as GitHub names it. */
function isThere(document: string, link: string): boolean {
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? document : join(document, '..', path);
  if (!existsSync(join(ROOT, target))) return false;
  if (anchor === undefined) return true;
  const headings = [...read(target).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
  return headings.includes(anchor);
}

describe('the README', () => {
  it('lists every setting with its default', () => {
    const documented = tableBehind('Settings', read('README.md')).map(
      ([name, value]) => `${String(name)} ${String(value)}`,
    );
    const actual = flatten(parse(read('config/default.yaml'))).map(
      ([name, value]) => `\`${name}\` \`${typeof value === 'string' && value !== '' ? value : JSON.stringify(value)}\``,
    );
    expect(documented).to.deep.equal(actual);
  });
});

describe('docs/reliability.md', () => {
  it('has a row for each fault of the bench with its text, and no violation', () => {
    const document = read('docs/reliability.md');
    const documented = tableBehind('Faults', document).map(([fault, , expected]) => [fault, expected]);
    const usual = FAULTS.filter(({ isExtra }) => isExtra !== true);
    expect(documented).to.deep.equal(usual.map(({ id, what, expected }) => [`${id}: ${what}`, expected]));
    expect(document).not.to.include('violated');
  });
});

describe('docs/README.md', () => {
  it('has a link to every page of its folder', () => {
    const pages = readPages().flatMap(({ path }) => /^docs\/([\w-]+\.md)$/.exec(path)?.[1] ?? []);
    expect(pages).to.include.members(['README.md', 'install.md']);
    const contents = read('docs/README.md');
    expect(pages.filter((page) => page !== 'README.md' && !contents.includes(`(${page}`))).to.deep.equal([]);
  });
});

describe('docs/sizing.md', () => {
  const measured = read('docs/performance.md');

  it('promises only values that the benchmark has measured', () => {
    const targets = tableBehind('Targets', measured)
      .filter(([, , , verdict]) => verdict === 'met')
      .map(([target, limit]) => `${String(target)} ${String(limit)}`);
    const promised = ['Memory', 'Processor and network']
      .flatMap((section) => tableBehind(section, read('docs/sizing.md')))
      .map(([target, limit]) => `${String(target)} ${String(limit)}`);
    expect(promised).to.have.length.greaterThan(4);
    expect(targets).to.include.members(promised);
  });

  it('states at least the measured CPU time of a GiB', () => {
    const processorSeconds = (title: string, column: number): number =>
      Number(new RegExp(`^### ${title}$[^#]*?^\\| ours {2}([^\\n]*)`, 'm').exec(measured)?.[1]?.split('|')[column]);
    const promise = /costs less than ([\d.]+) s of one processor for each GiB, a miss less than ([\d.]+) s/;
    const [, ofHits, ofMisses] = promise.exec(read('docs/sizing.md')) ?? [];
    const hits = ['64 MiB, 1', '64 MiB, 16', '256 MiB, 1', '256 MiB, 16', '1 MiB, 16'];
    for (const hit of hits) expect(processorSeconds(`hit ${hit} clients?`, 3), hit).to.be.below(Number(ofHits));
    expect(processorSeconds('miss, cold 64 MiB, 1 client', 4)).to.be.below(Number(ofMisses));
  });
});

describe('docs/troubleshooting.md', () => {
  const page = read('docs/troubleshooting.md');
  const rows = tableBehind("The client's view", page).map(([status, code, line]) => ({
    status: Number(status),
    code: unquoted(code),
    line: unquoted(line),
  }));
  const codes = (file: string, pattern: RegExp): string[] =>
    [...(pattern.exec(read(file))?.[1] ?? '').matchAll(/\b([A-Z]{3,}(?:_[A-Z]+)*)\b/g)].map(([, code = '']) => code);

  it('lists every code that a client can see, with its status', () => {
    const errors = codes('src/domain/errors.ts', /type ErrorCode =([^;]+);/) as ErrorCode[];
    const refusals = codes('src/adapters/http/server/problem.ts', /REFUSED = \{([^}]+)\}/) as RefusedError['code'][];
    expect(errors).to.include.members(['DIGEST_INVALID', 'STOPPING']);
    expect(refusals).to.include.members(['REQUEST_INVALID', 'PAGE_UNKNOWN']);
    const problems = [
      ...errors.map((code) =>
        problemOf(
          new (class extends PackageError {
            readonly code = code;
          })(''),
        ),
      ),
      ...refusals.map((code) => problemOf(new RefusedError(code, ''))),
      problemOf(new Error()),
    ];
    for (const { code, status } of problems) {
      const documented = rows.filter((row) => row.code === code).map((row) => row.status);
      expect([...new Set(documented)], code).to.deep.equal([status]);
    }
    expect(rows.map(({ code }) => code)).to.have.members(
      rows.map(({ code }) => code).filter((code) => problems.some((problem) => problem.code === code)),
    );
  });

  it('lists log lines that exist in the sources', () => {
    const sources = sourceFiles('src').map(({ text }) => text);
    expect(rows.filter(({ line }) => !sources.some((text) => text.includes(`'${line}'`)))).to.deep.equal([]);
  });

  it('lists every reason why the service is not ready', () => {
    const reasons = [...sourceFiles('src/infrastructure'), ...sourceFiles('src/adapters/filesystem')]
      .flatMap(({ text }) => [
        ...text.matchAll(/(?:notReady(?:: |\(\): .*\{)|readiness: \[)(?:(?!\n {2}\})[^])*?['`]([a-z][^'`$]+)/g),
      ])
      .map(([, reason = '']) => reason.trim());
    expect(reasons).to.have.length.greaterThan(2);
    const documented = tableBehind('Not ready', page).map(([line]) => unquoted(line).replace(/ …$/, ''));
    expect(documented).to.have.members(reasons);
  });

  it('lists messages of a failed start that exist in the sources', () => {
    const sources = sourceFiles('src').map(({ text }) => text);
    const fragments = tableBehind('It does not start', page)
      .flatMap(([reasons = '']) => [...reasons.matchAll(/`([^`]+)`/g)].map(([, reason = '']) => reason))
      .flatMap((reason) => reason.split(/…|\([A-Z]+\):|\d+/).map((fragment) => fragment.trim()))
      .filter((fragment) => fragment !== '');
    expect(fragments).to.include('cannot listen on');
    expect(fragments.filter((fragment) => !sources.some((text) => text.includes(fragment)))).to.deep.equal([]);
  });

  it('lists every described cause of a failure of a registry', () => {
    const [, causes = ''] = /EXPLANATIONS[^{]*\{([^}]+)\}/.exec(read('src/adapters/registry/upstream-errors.ts')) ?? [];
    const codes = [...causes.matchAll(/^ +([A-Z_]+): /gm)].map(([, code = '']) => code);
    expect(codes).to.include('CERT_HAS_EXPIRED');
    const documented = tableBehind('Causes in the log', page).map(([cause]) => cause);
    expect(codes.filter((code) => !documented.some((cause) => cause?.includes(code)))).to.deep.equal([]);
  });
});

describe('docs/command-line.md', () => {
  const page = read('docs/command-line.md');

  it('has the exit codes of the program', () => {
    const documented = tableBehind('Command line', page.replace('# Command', '## Command'));
    expect(documented).to.deep.equal(Object.entries(EXIT_CODES));
  });

  for (const row of COMMANDS) {
    it(`contains the help of ${row.name}`, async () => {
      const section = page.split(/^## /m).find((text) => text.startsWith(`\`${row.name}\`\n`));
      expect(section).to.include(`\`\`\`text\n${commandHelp(row, await row.load())}\`\`\`\n`);
    });
  }
});

describe('the documents', () => {
  for (const { path: document } of readPages()) {
    it(`have links to existing targets: ${document}`, () => {
      const links = [...read(document).matchAll(/\]\((?!https?:)([^)]+)\)/g)].map(([, path = '']) => path);
      const paths = [...read(document).matchAll(/`((?:src|test|config|examples|tools|docs)\/[\w./-]+)`/g)].map(
        ([, path = '']) => path,
      );
      const absent = [
        ...links.filter((link) => !isThere(document, link)),
        // In CONTRIBUTING the S3 adapter is an example.
        ...paths.filter((path) => !path.includes('/s3/') && !existsSync(join(ROOT, path))),
      ];
      expect(absent).to.deep.equal([]);
    });
  }

  it('pass no secret as an argument, because all users of the host can read arguments', () => {
    const blocks = readPages().flatMap(({ path, commands }) =>
      commands.map(({ text, line }) => ({ path, line, text })),
    );
    expect(blocks.some(({ text }) => text.includes('$REGISTRY_PASSWORD'))).to.equal(true);
    const shown = blocks.filter(({ text }) => /\s--?[\w-]+[ =]\S*\$\{?\w*(PASSWORD|TOKEN|auth)\b/.test(text));
    expect(shown.map(({ path, line }) => `${path}:${String(line)}`)).to.deep.equal([]);
  });

  it('name scripts that exist in package.json', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const named = readPages().flatMap(({ path }) =>
      [...read(path).matchAll(/npm run (?:--silent )?([\w:-]+)/g)].map(([, script = '']) => script),
    );
    expect(named).to.include.members(['peers', 'bench:faults']);
    expect(named.filter((script) => !(script in scripts))).to.deep.equal([]);
  });

  for (const document of ['ARCHITECTURE.md', 'docs/threats.md']) {
    it(`name types and functions that exist: ${document}`, () => {
      const source = sourceFiles('src')
        .map(({ text }) => text)
        .join('\n');
      const names = [...read(document).matchAll(/`([A-Za-z]+(?:\.[a-zA-Z]+)?)`/g)].map(([, name = '']) => name);
      const missing = names.filter((name) => !source.includes(name.split('.').at(-1) ?? name));
      expect(missing).to.deep.equal([]);
    });
  }

  it('name a defence for each threat, and a test or the lack of one', () => {
    const rows = tableBehind('Table', `## Table\n${read('docs/threats.md')}`);
    expect(rows.map(([number]) => number)).to.deep.equal(rows.map((_, index) => `T${String(index + 1)}`));
    expect(rows.filter((cells) => cells.length !== 4 || cells.includes(''))).to.deep.equal([]);
    const tests = sourceFiles('test')
      .map(({ text }) => text)
      .join('\n');
    const titles = rows.flatMap(([, , , test = '']) =>
      [...test.replaceAll('\\', '').matchAll(/"([^"]+)"/g)].map(([, title = '']) => title),
    );
    expect(titles.length).to.be.greaterThan(40);
    expect(
      titles.filter((title) => !["'", '`'].some((quote) => tests.includes(`(${quote}${title}${quote},`))),
    ).to.deep.equal([]);
  });
});
