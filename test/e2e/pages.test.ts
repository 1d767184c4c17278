import { type Program, describeWithAll } from '../support/peers/binaries.ts';
import { executePage } from '../support/pages/execute.ts';
import { readPages } from '../support/pages/page.ts';
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

const obstacle = Sandbox.obstacle();

for (const page of readPages().filter(({ needs }) => needs.length > 0)) {
  const inCluster = page.needs.includes('cluster');
  const programs = [...(inCluster ? CLUSTER : []), ...(page.needs.filter((need) => need !== 'cluster') as Program[])];
  describeWithAll(programs, (paths) => {
    (obstacle === undefined ? it : it.skip)(`the commands of ${page.path} do what it says`, () =>
      executePage(page, { programs: paths, under: inCluster ? IN_CLUSTER : [] }),
    ).timeout(300_000);
  });
}
