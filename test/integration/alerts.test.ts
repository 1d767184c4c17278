import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse, stringify } from 'yaml';
import { exposedMetrics } from '../support/exposed-metrics.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { renderChart } from '../support/peers/chart.ts';

const run = promisify(execFile);
const RUNBOOKS = join(import.meta.dirname, '../../docs/runbooks');
const UNIT_TESTS = join(import.meta.dirname, 'alerts.promtool.yaml');
const BASE = 'https://docs.example.com/runbooks';

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: Readonly<Record<string, string>>;
}

interface Rules {
  readonly groups: readonly { readonly rules: readonly Alert[] }[];
}

interface UnitTests {
  readonly tests: readonly { readonly alert_rule_test: readonly { alertname: string; exp_alerts?: unknown }[] }[];
}

describeWithAll(['helm', 'promtool'], ({ helm, promtool }) => {
  describe('the alerts of the chart', () => {
    let directory: string;
    let rules: Rules;
    let alerts: readonly Alert[];
    before(async () => {
      const objects = await renderChart(helm, '--set', `highAvailability=true,prometheusRule.runbooks=${BASE}`);
      const rule = objects.find(({ kind }) => kind === 'PrometheusRule') as { spec?: Rules } | undefined;
      if (rule?.spec === undefined) throw new Error('the chart has no PrometheusRule');
      rules = rule.spec;
      alerts = rules.groups.flatMap((group) => group.rules);
      directory = await mkdtemp(join(tmpdir(), 'alerts-'));
      await writeFile(join(directory, 'rules.yaml'), stringify(rules));
    });
    after(() => rm(directory, { recursive: true }));

    it('are rules that Prometheus accepts', async () => {
      const { stdout } = await run(promtool, ['check', 'rules', '--lint-fatal', join(directory, 'rules.yaml')]);
      expect(stdout).to.include(`SUCCESS: ${String(alerts.length)} rules found`);
    });

    it('fire for their cause, and not for similar events', async () => {
      const unitTests = parse(await readFile(UNIT_TESTS, 'utf8')) as UnitTests;
      const file = join(directory, 'tests.yaml');
      await writeFile(file, stringify({ rule_files: ['rules.yaml'], ...unitTests }));
      const { stdout } = await run(promtool, ['test', 'rules', file]).catch(
        (error: unknown) => error as { stdout: string },
      );
      expect(stdout).to.include('SUCCESS').and.not.to.include('FAILED');
      const shown = unitTests.tests.flatMap(({ alert_rule_test: cases }) => cases);
      for (const { alert } of alerts) {
        expect(
          shown.some(({ alertname, exp_alerts: expected }) => alertname === alert && expected),
          alert,
        ).to.equal(true);
      }
    });

    it('query only metrics and labels of a running service', async () => {
      const text = await exposedMetrics();
      for (const { alert, expr } of alerts) {
        expect(expr, alert).to.match(
          /\b(up|registry_packages_proxy_\w+)\{job="d8-monitoring\/registry-packages-proxy"/,
        );
        for (const [, name = '', selector = ''] of expr.matchAll(/\b(registry_packages_proxy_\w+)\{([^}]*)\}/g)) {
          const sample = text.split('\n').find((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
          expect(sample, `${name} of ${alert}`).not.to.equal(undefined);
          const labels = [...selector.matchAll(/(\w+)=~?"/g)].map(([, label = '']) => label);
          // Prometheus adds the label job.
          for (const label of labels.filter((one) => one !== 'job')) expect(sample, alert).to.include(`${label}="`);
        }
      }
    });

    it('each have a runbook with meaning, impact, first steps, remedy and confirmation', async () => {
      // An alert of two severities has one runbook.
      const pages = new Set(alerts.map(({ alert }) => `${alert}.md`));
      expect((await readdir(RUNBOOKS)).sort()).to.deep.equal([...pages].sort());
      for (const { alert, annotations } of alerts) {
        expect(annotations, alert).to.have.all.keys('summary', 'description', 'runbook_url');
        expect(annotations['runbook_url']).to.equal(`${BASE}/${alert}.md`);
        const page = await readFile(join(RUNBOOKS, `${alert}.md`), 'utf8');
        const headings = [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading);
        expect(headings, alert).to.deep.equal([
          alert,
          'Meaning',
          'Impact',
          'Look here first',
          'Remedy',
          'Confirm the fix',
        ]);
        const confirm = page.slice(page.indexOf('## Confirm the fix'));
        const metrics = [...confirm.matchAll(/\b(registry_packages_proxy_\w+|up\{)/g)].map(([, name = '']) => name);
        expect(metrics, `${alert} is confirmed by what its alert asks for`).to.satisfy((names: string[]) =>
          names.some((name) => alerts.some((each) => each.alert === alert && each.expr.includes(name))),
        );
      }
    });
  });
});
