import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { exposedMetrics } from '../support/exposed-metrics.ts';
import { describeWith } from '../support/peers/binaries.ts';

/** Gauges of Node with names of prom-client, which dashboards use. */
const NOT_OURS =
  /^nodejs_active_(handles|requests|resources)_total non-counter metrics should not have "_total" suffix$/;

describeWith('promtool', (path) => {
  it('promtool finds no fault with the metrics of a running service', async () => {
    const input = await exposedMetrics();
    const { error, stdout, stderr } = spawnSync(path, ['check', 'metrics'], { input, encoding: 'utf8' });
    expect(error).to.equal(undefined);
    const faults = `${stdout}${stderr}`.split('\n').filter((line) => line !== '' && !NOT_OURS.test(line));
    expect(faults).to.deep.equal([]);
  });

  it('promtool finds fault with a metric that violates the conventions', () => {
    const input =
      '# TYPE registry_packages_proxy_wait_milliseconds counter\nregistry_packages_proxy_wait_milliseconds 1\n';
    const { stderr } = spawnSync(path, ['check', 'metrics'], { input, encoding: 'utf8' });
    expect(stderr).to.include('no help text').and.to.include('_total');
  });
});
