import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { exposedMetrics } from '../support/exposed-metrics.ts';
import { tableBehind } from '../support/markdown-table.ts';

const README = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');

const OURS = 'registry_packages_proxy_';
/** Labels of the text format itself. */
const FORMAT_LABELS = ['le', 'quantile'];

describe('the metrics of a running service', () => {
  let text: string;
  before(async function () {
    this.timeout(20_000);
    text = await exposedMetrics();
  });

  it('are those of the README, with those labels, and no others', () => {
    const documented = tableBehind('Metrics', README).flatMap(([names = '']) =>
      [...names.matchAll(/`(?:registry_packages_proxy|…)_(\w+(?:\{[\w,]+\})?)`/g)].map(([, name]) => name),
    );
    const actual = exposedNames(text)
      .filter((name) => name.startsWith(OURS))
      .map((name) => name.slice(OURS.length));
    expect(documented.sort()).to.deep.equal(actual.sort());
  });

  it('are besides only those of the process and of Node', () => {
    const strangers = exposedNames(text).filter((name) => !/^(registry_packages_proxy|process|nodejs)_/.test(name));
    expect(strangers).to.deep.equal([]);
  });
});

/** Each as `name{label,…}`. */
function exposedNames(text: string): string[] {
  return [...text.matchAll(/^# TYPE (\w+) \w+\n((?:(?!#).*\n?)*)/gm)].map(([, name = '', samples = '']) => {
    const labels = [...samples.matchAll(/[{,](\w+)="/g)].map(([, label = '']) => label);
    const own = [...new Set(labels)].filter((label) => !FORMAT_LABELS.includes(label));
    return own.length === 0 ? name : `${name}{${own.join(',')}}`;
  });
}
