import { expect } from 'chai';
import { type Dashboard, queriesOf, readDashboard } from '../support/dashboard.ts';
import { EventfulService } from '../support/eventful-service.ts';
import { eventually } from '../support/eventually.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { renderChart } from '../support/peers/chart.ts';
import { Prometheus } from '../support/peers/prometheus.ts';

const JOB = 'd8-monitoring/registry-packages-proxy';
const BASE = 'https://docs.example.com/runbooks';
const DASHBOARD = readDashboard();

/** The objects of the chart for Prometheus and Grafana. */
interface Rendered {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly spec?: object;
  readonly data?: Readonly<Record<string, string>>;
}

describeWithAll(['helm', 'prometheus'], ({ helm, prometheus: path }) => {
  describe('the dashboard of the chart, over a real Prometheus', () => {
    let objects: readonly Rendered[];
    let service: EventfulService;
    let prometheus: Prometheus;
    before(async () => {
      objects = await renderChart(helm, '--set', `prometheusRule.runbooks=${BASE}`);
      const rules = objects.find(({ kind }) => kind === 'PrometheusRule')?.spec ?? {};
      service = await EventfulService.start();
      prometheus = await Prometheus.start({ path, target: service.address, job: JOB, node: 'master-0', rules });
      await scrapes();
      await service.serve();
      service.disturbCredentials();
      await scrapes();
      await service.restart();
      await until('registry_packages_proxy_cache_evictions_total{reason="damaged"} > 0');
      await service.serve();
      service.disturbCredentials();
      // This lasts longer than the interval between two points of a graph.
      await service.hold(async () => {
        await until('min_over_time(registry_packages_proxy_downloads_in_flight[2s]) > 0');
        await until('min_over_time(registry_packages_proxy_sending_waiting[2s]) > 0');
        await until('min_over_time(registry_packages_proxy_parallel_downloads{state="queued"}[2s]) > 0');
        await until('registry_packages_proxy_parallel_downloads_revoked_total > 0');
      });
      await service.failToStore();
      await scrapes();
    });
    after(async () => {
      await prometheus.close();
      await service.close();
    });

    async function until(expr: string): Promise<void> {
      await eventually(async () => {
        expect(await prometheus.now(expr), expr).not.to.deep.equal([]);
      }, 30_000);
    }

    /** Resolves after three more successful scrapes. */
    async function scrapes(): Promise<void> {
      const count = `sum_over_time(up{job="${JOB}"}[1h])`;
      const [before = 0] = await prometheus.now(count);
      await until(`${count} >= ${String(before + 3)}`);
    }

    /** Replaces variables as Grafana does before a choice. */
    function withVariables(text: string): string {
      return text
        .replaceAll('$__rate_interval', '1m')
        .replaceAll('$__range', '15m')
        .replaceAll('$job', JOB)
        .replaceAll('$node', '.*');
    }

    it('is in a ConfigMap with the label for the sidecar of Grafana, with links to the runbooks', () => {
      const { metadata, data = {} } = objects.find(({ metadata: { name } }) => name.endsWith('-dashboard')) ?? {};
      expect(metadata?.labels).to.include({ grafana_dashboard: '1' });
      const [text = ''] = Object.values(data);
      const { templating, ...rest } = JSON.parse(text) as Dashboard;
      const { templating: before, ...expected } = DASHBOARD;
      expect(rest).to.deep.equal(expected);
      const runbooks = before.list.map((variable) =>
        variable.name === 'runbooks' ? { ...variable, query: BASE } : variable,
      );
      expect(templating.list).to.deep.equal(runbooks);
    });

    it('lists the existing jobs and nodes', async () => {
      const offered: Record<string, string[]> = {};
      for (const { name, type, query } of DASHBOARD.templating.list) {
        if (type !== 'query') continue;
        const text = withVariables(typeof query === 'string' ? query : query.query);
        const [, selector = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(text) ?? [];
        offered[name] = await prometheus.labelValues(label, selector);
      }
      expect(offered).to.deep.equal({ job: [JOB], node: ['master-0'] });
    });

    for (const { where, expr, instant } of queriesOf(DASHBOARD)) {
      it(`shows data: ${where}`, async () => {
        const ask = instant === true ? prometheus.now.bind(prometheus) : prometheus.history.bind(prometheus);
        await eventually(async () => {
          const samples = await ask(withVariables(expr));
          // Each event has happened: no series is 0 all the time.
          expect(samples.filter((sample) => sample > 0)).not.to.deep.equal([]);
        }, 20_000);
      });
    }
  });
});
