import { expect } from 'chai';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { FAULTS } from '../../bench/faults/faults.ts';
import { tableBehind } from '../support/markdown-table.ts';
import { ROOT, sourceFiles } from './source-files.ts';

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** Each setting by its dotted name. */
function flatten(value: unknown, name = ''): [string, unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [[name, value]];
  return Object.entries(value).flatMap(([key, below]) => flatten(below, name === '' ? key : `${name}.${key}`));
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
  it('has a row for each fault of the bench, as the bench has it, and no violation', () => {
    const document = read('docs/reliability.md');
    const documented = tableBehind('Faults', document).map(([fault, , expected]) => [fault, expected]);
    const usual = FAULTS.filter(({ isExtra }) => isExtra !== true);
    expect(documented).to.deep.equal(usual.map(({ id, what, expected }) => [`${id}: ${what}`, expected]));
    expect(document).not.to.include('violated');
  });
});

describe('the documents', () => {
  for (const document of [
    'README.md',
    'ARCHITECTURE.md',
    'CONTRIBUTING.md',
    'CHANGELOG.md',
    'docs/adr/README.md',
    'docs/threats.md',
    ...readdirSync(join(ROOT, 'docs/runbooks')).map((page) => `docs/runbooks/${page}`),
  ]) {
    it(`point to what exists: ${document}`, () => {
      const links = [...read(document).matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, path = '']) => path);
      const paths = [...read(document).matchAll(/`((?:src|test|config|examples|tools|docs)\/[\w./-]+)`/g)].map(
        ([, path = '']) => path,
      );
      const absent = [
        ...links.filter((path) => !existsSync(join(ROOT, document, '..', path))),
        // In CONTRIBUTING the S3 adapter is an example.
        ...paths.filter((path) => !path.includes('/s3/') && !existsSync(join(ROOT, path))),
      ];
      expect(absent).to.deep.equal([]);
    });
  }

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

  it('name a defence and a test, or the want of one, for each of the 35 threats', () => {
    const rows = tableBehind('Table', `## Table\n${read('docs/threats.md')}`);
    expect(rows.map(([number]) => number)).to.deep.equal(
      Array.from({ length: 35 }, (_, index) => `T${String(index + 1)}`),
    );
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
