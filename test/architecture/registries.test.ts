import { expect } from 'chai';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { tableBehind } from '../support/markdown-table.ts';
import { hasTest } from '../support/test-titles.ts';
import { ROOT } from './source-files.ts';

describe('docs/registries.md', () => {
  const rows = tableBehind('Quirks', readFileSync(join(ROOT, 'docs/registries.md'), 'utf8'));

  it('has sixty quirks, each with a public report and the behaviour of the service', () => {
    expect(rows.length).to.be.at.least(60);
    expect(rows.filter((cells) => cells.length !== 5 || cells.includes(''))).to.deep.equal([]);
    const reports = rows.map(([, , report]) => report);
    expect(reports.filter((report) => !/^\[[^\]]+\]\(https:\/\/[^)]+\)$/.test(report ?? ''))).to.deep.equal([]);
  });

  it('names existing tests', () => {
    const named = rows.flatMap(([product, , , , tests = '']) => {
      const names = [...tests.matchAll(/`([\w/-]+): ([^`]+)`/g)];
      return names.length === 0
        ? [[product, '', '']]
        : names.map(([, file = '', title = '']) => [product, file, title]);
    });
    const absent = named.filter(([, file = '', title = '']) => {
      const path = join(ROOT, 'test', `${file}.test.ts`);
      return !existsSync(path) || !hasTest(readFileSync(path, 'utf8'), title);
    });
    expect(absent).to.deep.equal([]);
  });
});
