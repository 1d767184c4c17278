import { expect } from 'chai';
import { parse } from 'yaml';
import { describeWithAll } from '../support/peers/binaries.ts';
import {
  applyObject,
  containerOf,
  type KubernetesObject,
  namespaceObject,
  renderChart,
} from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, type User, USERS } from '../support/peers/cluster.ts';
import { rejection } from '../support/rejection.ts';

/** What the kube-rbac-proxy of Deckhouse reads from its environment. */
interface SidecarConfig {
  readonly excludePaths: readonly string[];
  readonly upstreams: readonly {
    readonly path: string;
    readonly upstream: string;
    readonly authorization: { readonly resourceAttributes: Readonly<Record<string, string>> };
  }[];
}

const DECKHOUSE = ['--set', 'kubeRbacProxy.authorization=resources', '--set', 'kubeRbacProxy.image=kube-rbac-proxy:d8'];

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm'], (programs) => {
  describe('the subresources that the sidecar of Deckhouse checks', () => {
    let cluster: Cluster;
    let chart: KubernetesObject[];
    let config: SidecarConfig;
    before(async () => {
      cluster = await Cluster.start(programs);
      chart = await renderChart(
        programs.helm,
        ...DECKHOUSE,
        '--set-json',
        'clients.images=[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"operator"}]',
      );
      for (const name of [NAMESPACE, 'd8-system']) await applyObject(cluster.as('admin'), namespaceObject(name));
      for (const object of chart) {
        if (/Role|ServiceAccount/.test(object.kind)) await applyObject(cluster.as('admin'), object);
      }
      const { env = [] } = containerOf(chart, 'kube-rbac-proxy');
      config = parse(env.find(({ name }) => name === 'KUBE_RBAC_PROXY_CONFIG')?.value ?? '') as SidecarConfig;
    });
    after(() => cluster.close());

    async function mayGet(user: User, resourceAttributes: Readonly<Record<string, string>>): Promise<boolean> {
      const { apiGroup: group, apiVersion: version, ...rest } = resourceAttributes;
      const { name, groups } = USERS[user];
      const json = {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: { user: name, groups, resourceAttributes: { group, version, verb: 'get', ...rest } },
      };
      const url = 'apis/authorization.k8s.io/v1/subjectaccessreviews';
      const { body } = await cluster.as('admin').post<{ status: { allowed: boolean } }>(url, { json });
      return body.status.allowed;
    }

    it('are allowed only to the clients of each path', async () => {
      const allowed: Record<string, string[]> = {};
      for (const { path, upstream, authorization } of config.upstreams) {
        expect(upstream).to.equal(`http://127.0.0.1:5080${path}`);
        const users: string[] = [];
        for (const user of ['node', 'scraper', 'operator', 'stranger'] as const) {
          if (await mayGet(user, authorization.resourceAttributes)) users.push(user);
        }
        allowed[path] = users;
      }
      expect(allowed).to.deep.equal({
        '/healthz': ['node'],
        '/package': ['node'],
        '/manifest': ['node'],
        '/metrics': ['scraper'],
        '/explain': [],
        '/status': [],
        '/v1/images/': ['operator'],
        '/v1/packages/': [],
      });
      expect(config.excludePaths).to.include('/healthz');
    });

    it('require no right to a path', () => {
      const clients = chart.filter(({ kind, metadata }) => kind === 'ClusterRole' && metadata.name.endsWith('-reader'));
      expect(clients).to.deep.equal([]);
      const { args } = containerOf(chart, 'kube-rbac-proxy');
      expect(args.filter((arg) => /^--(upstream|ignore-paths|kube-api|http2)/.test(arg))).to.deep.equal([]);
    });

    it('are refused with the image of the chart, and with a hardened loopback port', async () => {
      const render = (...args: string[]): Promise<string> =>
        rejection(renderChart(programs.helm, ...args)).then((error) => error.message);
      expect(await render(...DECKHOUSE.slice(0, 2))).to.include('set the image of Deckhouse');
      expect(await render(...DECKHOUSE, '--set', 'loopback=hardened')).to.include('or loopback: plain');
    });
  });
});
