import { type Program, describeWithAll } from '../support/peers/binaries.ts';
import { executePage } from '../support/pages/execute.ts';
import { type Page, readPages } from '../support/pages/page.ts';
import { Sandbox } from '../support/pages/sandbox.ts';

interface Place {
  /** The programs that a page gets besides those that it names. */
  readonly programs: readonly Program[];
  readonly script: readonly string[];
}

const REGISTRY: Place = { programs: ['docker-registry', 'crane'], script: ['test/support/pages/beside-registry.ts'] };
const CLUSTER: Place = {
  programs: [
    ...REGISTRY.programs,
    ...(['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const),
    ...(['kube-rbac-proxy', 'kubectl', 'helm'] as const),
  ],
  script: ['test/support/pages/in-cluster.ts'],
};
/** Without Deckhouse. */
const BARE: Place = { ...CLUSTER, script: [...CLUSTER.script, '--bare'] };
/** The surroundings of pages, by the needs that a page states. */
const PLACES: Readonly<Record<string, Place>> = { registry: REGISTRY, cluster: CLUSTER, 'bare cluster': BARE };

/** The pages that need the chart come after these. */
const INSTALLATION = 'docs/install.md';

const obstacle = Sandbox.obstacle();
const pages = readPages();

/** Sections that an installation runs later, or never. */
const AFTERWARDS = ['8. A certificate of your own', '9. Renew the certificate', 'Uninstall'];

/** The page of the installation, whose steps run before a page that needs the chart. */
function installation(): Page | undefined {
  const page = pages.find(({ path }) => path === INSTALLATION);
  return page && { ...page, commands: page.commands.filter(({ section }) => !AFTERWARDS.includes(section)) };
}

for (const page of pages.filter(({ needs }) => needs.length > 0)) {
  const hasChart = page.needs.includes('chart');
  const place = hasChart ? CLUSTER : page.needs.map((need) => PLACES[need]).find((found) => found !== undefined);
  const others = page.needs.filter((need) => need !== 'chart' && !(need in PLACES)) as Program[];
  describeWithAll([...(place?.programs ?? []), ...others], (programs) => {
    (obstacle === undefined ? it : it.skip)(`the commands of ${page.path} do what it says`, () =>
      executePage(page, {
        programs,
        after: hasChart ? installation() : undefined,
        under: place === undefined ? [] : [process.execPath, ...place.script],
      }),
    ).timeout(300_000);
  });
}
