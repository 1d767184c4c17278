import { type Program, describeWithAll } from '../support/peers/binaries.ts';
import { executePage } from '../support/pages/execute.ts';
import { type Page, readPages } from '../support/pages/page.ts';
import { Sandbox } from '../support/pages/sandbox.ts';

/** What a page that needs a cluster gets, besides what it needs by name. */
const CLUSTER = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-rbac-proxy',
  'kubectl',
  'helm',
  'docker-registry',
  'crane',
] as const;
const IN_CLUSTER = [process.execPath, 'test/support/pages/in-cluster.ts'];

/** What needs the chart comes after these. */
const INSTALLATION = 'docs/install.md';

const obstacle = Sandbox.obstacle();
const pages = readPages();

/** Without its last word. */
function installation(): Page | undefined {
  const page = pages.find(({ path }) => path === INSTALLATION);
  return page && { ...page, commands: page.commands.filter(({ section }) => section !== 'Uninstall') };
}

for (const page of pages.filter(({ needs }) => needs.length > 0)) {
  const hasChart = page.needs.includes('chart');
  const hasCluster = hasChart || page.needs.includes('cluster');
  const others = page.needs.filter((need) => need !== 'chart' && need !== 'cluster') as Program[];
  describeWithAll([...(hasCluster ? CLUSTER : []), ...others], (programs) => {
    (obstacle === undefined ? it : it.skip)(`the commands of ${page.path} do what it says`, () =>
      executePage(page, {
        programs,
        after: hasChart ? installation() : undefined,
        under: hasCluster ? IN_CLUSTER : [],
      }),
    ).timeout(300_000);
  });
}
