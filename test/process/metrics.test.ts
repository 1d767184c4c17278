import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { exposedMetrics } from '../support/exposed-metrics.ts';
import { tableBehind } from '../support/markdown-table.ts';
import { ServiceProcess } from '../support/service-process.ts';

const README = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');

const OURS = 'registry_packages_proxy_';
/** Labels that the text format defines. */
const FORMAT_LABELS = ['le', 'quantile'];

describe('the metrics of a running service', () => {
  let text: string;
  before(async function () {
    this.timeout(20_000);
    text = await exposedMetrics();
  });

  it('are exactly those of the README, with the same labels', () => {
    const documented = tableBehind('Metrics', README).flatMap(([names = '']) =>
      [...names.matchAll(/`(?:registry_packages_proxy|…)_(\w+(?:\{[\w,]+\})?)`/g)].map(([, name]) => name),
    );
    const actual = exposedNames(text)
      .filter((name) => name.startsWith(OURS))
      .map((name) => name.slice(OURS.length));
    expect(documented.sort()).to.deep.equal(actual.sort());
  });

  it('have otherwise only the names of the process and of Node', () => {
    const strangers = exposedNames(text).filter((name) => !/^(registry_packages_proxy|process|nodejs)_/.test(name));
    expect(strangers).to.deep.equal([]);
  });

  it('are 0 from the start if dashboards and alerts need them, so that the first event is an increase', async () => {
    const service = await ServiceProcess.start();
    const fresh = await service.client('metrics').text();
    await service.close();
    for (const line of [
      'http_requests_total{route="/package",method="GET",code="502"} 0',
      'http_request_duration_seconds_count{route="/package"} 0',
      'served_bytes_total{result="bypass"} 0',
      'cache_requests_total{result="bypass"} 0',
      'cache_evictions_total{reason="damaged"} 0',
      'cache_store_failures_total{reason="ENOSPC"} 0',
      'cache_store_failures_total{reason="inodes"} 0',
      'digest_mismatch_total 0',
      'upstream_requests_total{source="registry",operation="blob",code="ok"} 0',
      'upstream_requests_total{source="registry",operation="manifest",code="upstream_denied"} 0',
      'upstream_duration_seconds_count{operation="manifest"} 0',
    ]) {
      expect(fresh).to.include(`${OURS}${line}\n`);
    }
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
