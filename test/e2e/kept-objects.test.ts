import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Got } from 'got';
import { eventually } from '../support/eventually.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, CHART, namespaceObject } from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, USERS } from '../support/peers/cluster.ts';
import { rejection } from '../support/rejection.ts';

const run = promisify(execFile);
const PATIENCE_MS = 30_000;
const TOKEN = 'secrets/registry-packages-proxy-token';
const READER = 'serviceaccounts/registry-packages-proxy-reader';
const CONFIG = 'configmaps/registry-packages-proxy-config';

interface Found {
  readonly type?: string;
  readonly metadata: { readonly uid: string; readonly labels: Readonly<Record<string, string>> };
  readonly data?: Readonly<Record<string, string>>;
}

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'kube-controller-manager', 'helm'], (programs) => {
  describe('a release that is upgraded, removed and installed again', () => {
    let cluster: Cluster;
    let admin: Got;
    let kubeconfig: string;
    before(async function () {
      this.timeout(120_000);
      cluster = await Cluster.start(programs);
      admin = cluster.as('admin');
      kubeconfig = await cluster.kubeconfig('admin');
      for (const name of [NAMESPACE, 'd8-system']) await applyObject(admin, namespaceObject(name));
      await cluster.startControllers(programs['kube-controller-manager']);
    });
    after(() => cluster.close());

    const helm = async (...args: readonly string[]): Promise<string> =>
      (await run(programs.helm, [...args, '--namespace', NAMESPACE, '--kubeconfig', kubeconfig])).stdout;
    const find = async (what: string, client = admin): Promise<Found | undefined> => {
      const { statusCode, body } = await client<Found>(`api/v1/namespaces/${NAMESPACE}/${what}`, {
        throwHttpErrors: false,
      });
      return statusCode === 200 ? body : undefined;
    };
    /** The token, of which nodes and tenants hold copies, and the identity of the objects on which it depends. */
    async function token(): Promise<{ secret: string; reader: string; token: string }> {
      let found = { secret: '', reader: '', token: '' };
      await eventually(async () => {
        const [secret, reader] = [await find(TOKEN), await find(READER)];
        const value = secret?.data?.['token'] ?? '';
        expect(value).not.to.equal('');
        found = { secret: secret?.metadata.uid ?? '', reader: reader?.metadata.uid ?? '', token: value };
      }, PATIENCE_MS);
      return found;
    }
    const withToken = ['--set', 'nodeToken.enabled=true'];

    it('keeps the token of nodes through upgrades, its removal from the values, the removal of the release and the next installation', async () => {
      await helm('install', 'test', CHART, ...withToken);
      const before = await token();
      const { type, metadata } = (await find(TOKEN)) ?? {};
      expect(type).to.equal('kubernetes.io/service-account-token');
      expect(metadata?.labels).to.include({ app: 'registry-packages-proxy' });
      await helm('upgrade', 'test', CHART, ...withToken, '--set', 'commonLabels.a=b');
      expect(await token()).to.deep.equal(before);
      await helm('upgrade', 'test', CHART, '--set', 'nodeToken.enabled=false');
      expect(await token()).to.deep.equal(before);
      await helm('upgrade', 'test', CHART, ...withToken);
      expect(await helm('uninstall', 'test')).to.include(
        'These resources were kept due to the resource policy:\n[Secret] registry-packages-proxy-token\n[ServiceAccount] registry-packages-proxy-reader',
      );
      expect(await find('serviceaccounts/registry-packages-proxy')).to.equal(undefined);
      expect(await token()).to.deep.equal(before);
      // The API server still knows the token.
      const { body } = await admin.post<{ status: { authenticated: boolean } }>(
        'apis/authentication.k8s.io/v1/tokenreviews',
        {
          json: {
            apiVersion: 'authentication.k8s.io/v1',
            kind: 'TokenReview',
            spec: { token: Buffer.from(before.token, 'base64').toString() },
          },
        },
      );
      expect(body.status.authenticated).to.equal(true);
      expect((await rejection(helm('install', 'other', CHART, ...withToken))).message).to.include(
        'invalid ownership metadata',
      );
      await helm('install', 'test', CHART, ...withToken);
      expect(await token()).to.deep.equal(before);
    });

    it('publishes the endpoints of the values with the CA of the certificate until the values have none', async () => {
      expect(await find(CONFIG)).to.equal(undefined);
      const endpoints = ['192.0.2.10:4219', '[2001:db8::10]:4219'];
      const { name } = USERS.operator;
      const operators = JSON.stringify([{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name }]);
      const published = [
        '--set-json',
        `publishedConfig.endpoints=${JSON.stringify(endpoints)},clients.images=${operators}`,
      ];
      await helm('upgrade', 'test', CHART, ...published);
      const { data = {} } = (await find(CONFIG)) ?? {};
      const { data: { 'ca.crt': ca } = {} } = (await find('configmaps/registry-packages-proxy-ca')) ?? {};
      expect(data).to.have.all.keys('endpoints', 'ca.crt');
      expect(JSON.parse(data['endpoints'] ?? '')).to.deep.equal(endpoints);
      expect(data['ca.crt'])
        .to.equal(ca)
        .and.to.match(/^-----BEGIN CERTIFICATE-----/);

      await helm('upgrade', 'test', CHART, ...published, '--set', 'publicEndpoint.host=packages.example.com');
      expect((await find(CONFIG))?.data).to.deep.equal({ ...data, publicEndpoint: 'https://packages.example.com' });
      // Users of d8 may read the ConfigMap; nodes and the service itself may not.
      expect((await find(CONFIG, cluster.as('operator')))?.data).to.include(data);
      for (const user of ['node', 'service', 'stranger'] as const) {
        expect(await find(CONFIG, cluster.as(user)), user).to.equal(undefined);
      }

      const own = `-----BEGIN CERTIFICATE-----\nown\n-----END CERTIFICATE-----\n`;
      await helm('upgrade', 'test', CHART, ...published, '--set-string', `publishedConfig.ca=${own}`);
      expect((await find(CONFIG))?.data?.['ca.crt']).to.equal(own);

      await helm('upgrade', 'test', CHART, '--reset-values');
      expect(await find(CONFIG)).to.equal(undefined);
      await helm('upgrade', 'test', CHART, ...published);
      await helm('uninstall', 'test');
      expect(await find(CONFIG)).to.equal(undefined);
    });

    it('publishes the CA of the Secret of the certificate, and none if the sidecar makes the certificate', async () => {
      const published = ['--set', 'publishedConfig.endpoints={192.0.2.10:4219}'];
      const secret = {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: 'mine', namespace: NAMESPACE },
        type: 'kubernetes.io/tls',
        data: { 'tls.crt': '', 'tls.key': '', 'ca.crt': Buffer.from('of the platform\n').toString('base64') },
      };
      await applyObject(admin, secret);
      await helm('install', 'test', CHART, ...published, '--set', 'tlsSecret=mine');
      expect((await find(CONFIG))?.data).to.deep.equal({
        endpoints: '["192.0.2.10:4219"]',
        'ca.crt': 'of the platform\n',
      });
      await helm('upgrade', 'test', CHART, ...published, '--set', 'tls.mode=selfSigned');
      expect((await find(CONFIG))?.data).to.deep.equal({ endpoints: '["192.0.2.10:4219"]' });
      await helm('uninstall', 'test');
    });

    it('refuses invalid endpoints', async () => {
      for (const endpoint of ['https://192.0.2.10:4219', '192.0.2.10', '2001:db8::10:4219', 'a b:1']) {
        const values = JSON.stringify([endpoint]);
        const error = await rejection(helm('template', CHART, '--set-json', `publishedConfig.endpoints=${values}`));
        expect(error.message, endpoint).to.include('publishedConfig');
      }
    });
  });
});
