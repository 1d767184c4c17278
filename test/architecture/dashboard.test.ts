import { expect } from 'chai';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { queriesOf, readDashboard } from '../support/dashboard.ts';
import { tableBehind } from '../support/markdown-table.ts';
import { ROOT } from './source-files.ts';

const OURS = 'registry_packages_proxy_';
/** Metrics of the README that the dashboard leaves out. */
const NOT_SHOWN = [
  // It has the value of cache_size_bytes, for existing dashboards.
  'cache_size',
  // Refusals are among the 503s; both help an operator to find the reason.
  'sending_refused_total',
  'sending_displaced_total',
  // It counts in the hardened mode only; the log says more.
  'loopback_refused_total',
  // An alert fires 30 days before the end.
  'certificate_end_timestamp_seconds',
  // The panels of sources and of writes show a bucket that fails; the log says more, and docs/shared-cache.md what to do.
  'bucket_usable',
  'bucket_write_queue',
  // A pod without its port is not ready, so no tile shows it.
  'bootstrap_open',
];

/** The names of the metrics without labels and our prefix, each once. */
function documented(): string[] {
  const names = tableBehind('Metrics', readFileSync(join(ROOT, 'README.md'), 'utf8')).flatMap(([cell = '']) =>
    [...cell.matchAll(/`(?:registry_packages_proxy|…)_(\w+)/g)].map(([, name = '']) => name),
  );
  return [...new Set(names)].sort();
}

describe('the dashboard', () => {
  const dashboard = readDashboard();
  const { panels, templating, annotations } = dashboard;
  const queries = queriesOf(dashboard);

  it('is the same in every Grafana: it has a fixed uid, no id, and a variable for the data source', () => {
    expect(dashboard.uid).to.equal('registry-packages-proxy');
    // Deckhouse: no local id besides the uid.
    expect(dashboard).not.to.have.property('id');
    expect(templating.list.find(({ type }) => type === 'datasource')).to.include({ query: 'prometheus' });
    const asking = [...panels.filter(({ targets }) => targets !== undefined), ...annotations.list];
    expect(asking.length).to.be.greaterThan(20);
    for (const { datasource } of [...asking, ...templating.list.filter(({ type }) => type === 'query')]) {
      expect(datasource).to.deep.equal({ type: 'prometheus', uid: '${datasource}' });
    }
  });

  it('has panels with unique ids that do not overlap', () => {
    expect(new Set(panels.map(({ id }) => id)).size).to.equal(panels.length);
    const taken = new Map<string, string>();
    for (const { title, gridPos } of panels) {
      expect(gridPos.x + gridPos.w, title).to.be.at.most(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          const place = `${String(x)} ${String(y)}`;
          expect(taken.get(place), `under ${title}`).to.equal(undefined);
          taken.set(place, title);
        }
      }
    }
  });

  it('describes each panel, and has a link to each runbook', () => {
    const texts = panels.filter(({ type }) => type !== 'row').map(({ description = '' }) => description);
    for (const text of texts) expect(text.length).to.be.greaterThan(40);
    const pages = texts.flatMap((text) => [...text.matchAll(/\$\{runbooks\}\/(\w+\.md)/g)].map(([, page]) => page));
    expect([...new Set(pages)].sort()).to.deep.equal(readdirSync(join(ROOT, 'docs/runbooks')).sort());
  });

  it('has in docs/dashboard.md the question that each panel answers', () => {
    const page = readFileSync(join(ROOT, 'docs/dashboard.md'), 'utf8');
    const listed = [...page.matchAll(/_([^_]+)_[,\s]/g)].map(([, title]) => title);
    const titles = panels.filter(({ type }) => type !== 'row').map(({ title }) => title);
    expect(listed.sort()).to.deep.equal(titles.sort());
  });

  it('queries one job and the chosen nodes over intervals that follow the shown time range', () => {
    for (const { where, expr } of queries) {
      const selectors = [...expr.matchAll(/\b\w+\{([^}]*)\}/g)].map(([, selector = '']) => selector);
      expect(selectors, where).not.to.deep.equal([]);
      for (const selector of selectors) {
        expect(selector, where).to.match(/^(job="\$job",node=~"\$node"|alertname=~"RegistryPackagesProxy)/);
      }
      // Those of an alert are its own.
      const windows = [...expr.matchAll(/\[([^\]]+)\]/g)].map(([, window]) => window);
      for (const window of windows) expect(window, where).to.be.oneOf(['$__rate_interval', '$__range', '10m', '1h']);
    }
  });

  it('shows exactly the metrics of the README except those in a list', () => {
    const text = [...queries.map(({ expr }) => expr), JSON.stringify(templating.list)].join('\n');
    const shown = [...text.matchAll(new RegExp(`\\b${OURS}(\\w+?)(?:_bucket)?\\b`, 'g'))].map(([, name = '']) => name);
    expect([...new Set([...shown, ...NOT_SHOWN])].sort()).to.deep.equal(documented());
  });
});
