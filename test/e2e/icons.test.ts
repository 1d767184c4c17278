import { expect } from 'chai';
import got, { type Got } from 'got';
import { parse } from 'yaml';
import { gzipSync } from 'node:zlib';
import { archiveOf } from '../support/archive.ts';
import { eventually } from '../support/eventually.ts';
import { BASIC, FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { makeImage } from '../support/image.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, containerOf, namespaceObject, renderChart, settingsOf } from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, USERS } from '../support/peers/cluster.ts';
import {
  defineModuleSource,
  definePackageRepository,
  deletePackageRepository,
  putPackageRepository,
} from '../support/peers/module-source.ts';
import { publishTags } from '../support/published-tags.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { CA } from '../support/tls/certificates.ts';

const PATIENCE_MS = 15_000;
const SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>';
const ICON = 'v1/packages/main/console/metadata/icon';

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm'], (programs) => {
  describe('icons of a cluster', () => {
    let cluster: Cluster;
    let admin: Got;
    let registry: FakeRegistry;
    let service: ServiceProcess;
    let settings: object;
    let client: Got;

    before(async function () {
      this.timeout(120_000);
      cluster = await Cluster.start(programs);
      admin = cluster.as('admin');
      for (const name of [NAMESPACE, 'd8-system']) await applyObject(admin, namespaceObject(name));
      await defineModuleSource(admin);
      const chart = await renderChart(programs.helm);
      for (const object of chart) if (/Role|ServiceAccount/.test(object.kind)) await applyObject(admin, object);
      registry = await FakeRegistry.start({ auth: 'basic' });
      const image = makeImage([gzipSync(archiveOf({ path: 'docs/icon.svg', content: SVG }))]);
      registry.publish(image);
      const tagged = { 'packages/console/version:v1.0.0': image.manifest.bytes };
      publishTags(registry, tagged, ({ headers }) => headers.authorization === BASIC);
      const parsed = parse(settingsOf(chart)) as { store: object };
      settings = { ...parsed, store: { ...parsed.store, directory: 'cache' } };
      await definePackageRepository(admin);
      service = await start();
      const { port } = await cluster.guard(service.port, containerOf(chart, 'kube-rbac-proxy').args);
      client = got.extend({
        prefixUrl: `https://127.0.0.1:${String(port)}`,
        https: { certificateAuthority: CA },
        retry: { limit: 0 },
        throwHttpErrors: false,
        followRedirect: false,
      });
    });
    after(async () => {
      await service.close();
      await registry.close();
      await cluster.close();
    });

    const start = async (): Promise<ServiceProcess> =>
      ServiceProcess.start({ settings, flags: ['--kubeconfig', await cluster.kubeconfig('service')] });
    const dockerCfg = (password: string): string =>
      Buffer.from(
        JSON.stringify({ auths: { [`https://${registry.host}`]: { username: USERNAME, password } } }),
      ).toString('base64');
    const answers = (status: number, body: string, path = ICON): Promise<void> =>
      eventually(async () => {
        const answer = await client(path);
        expect([answer.statusCode, answer.body]).to.deep.equal([status, body]);
      }, PATIENCE_MS);

    it('are served from the creation of a PackageRepository until its deletion, with each new password', async () => {
      await answers(404, 'package repository not found\n');
      const repo = { repo: `${registry.host}/packages`, scheme: 'HTTP' };
      await putPackageRepository(admin, 'main', { ...repo, dockerCfg: dockerCfg('canary-wrong') });
      await answers(502, 'failed to list tags\n');
      await putPackageRepository(admin, 'main', { ...repo, dockerCfg: dockerCfg(PASSWORD) });
      await answers(200, SVG);
      const { headers } = await client(ICON);
      expect(headers['content-security-policy']).to.match(/^default-src 'none';.*sandbox$/);
      await deletePackageRepository(admin, 'main');
      await answers(404, 'package repository not found\n');
      await putPackageRepository(admin, 'main', { ...repo, dockerCfg: dockerCfg(PASSWORD) });
      await answers(200, SVG);
    });

    it('are served to clients without a token, and no other path below theirs is', async () => {
      for (const path of [ICON, `${ICON}/`, `${ICON}/v1.0.0`]) {
        for (const method of ['GET', 'HEAD'] as const) {
          expect((await client(path, { method })).statusCode, path).to.equal(200);
        }
      }
      for (const path of [
        `${ICON}/v1.0.0/x`,
        `${ICON}x`,
        'v1/packages/a%2fb/console/metadata/icon',
        'v1/packages/main/console',
        'v1/packages/',
        'v1/images/deckhouse-cli/tags',
        'package',
      ]) {
        expect((await client(path)).statusCode, path).to.equal(401);
      }
      // The sidecar sends a client to the path that such a one means.
      expect((await client('v1/packages/main//console/metadata/icon')).statusCode).to.equal(307);
      expect((await client.post(ICON)).statusCode).to.equal(405);
    });

    it('give a client without rights no access to a package', async () => {
      const stranger = client.extend({ headers: { authorization: `Bearer ${USERS.stranger.token}` } });
      expect((await stranger(ICON)).statusCode).to.equal(200);
      expect((await stranger('v1/packages/main/console')).statusCode).to.equal(403);
    });

    it('do not disturb the service if the cluster has no PackageRepositories, or if it may not list them', async () => {
      const path = 'apis/rbac.authorization.k8s.io/v1/clusterroles/registry-packages-proxy';
      const { body: role } = await admin<{ rules: { resources?: string[] }[] }>(path);
      const rules = role.rules.map((rule) => ({
        ...rule,
        ...(rule.resources && { resources: rule.resources.filter((name) => name !== 'packagerepositories') }),
      }));
      await admin.patch(path, {
        headers: { 'content-type': 'application/merge-patch+json' },
        body: JSON.stringify({ rules }),
      });
      const withoutRight = await start();
      await withoutRight.logged('listing is forbidden, counting as empty', { resource: 'packagerepositories' });
      await expectQuiet(withoutRight);
      await admin.delete(`apis/apiextensions.k8s.io/v1/customresourcedefinitions/packagerepositories.deckhouse.io`);
      await admin.patch(path, {
        headers: { 'content-type': 'application/merge-patch+json' },
        body: JSON.stringify({ rules: role.rules }),
      });
      await eventually(async () => {
        const { statusCode } = await cluster.as('service')('apis/deckhouse.io/v1alpha1/packagerepositories', {
          throwHttpErrors: false,
        });
        expect(statusCode).to.equal(404);
      }, PATIENCE_MS);
      const withoutKind = await start();
      await expectQuiet(withoutKind);
    });

    async function expectQuiet(other: ServiceProcess): Promise<void> {
      await eventually(async () => {
        const { statusCode, body } = await other.client(ICON);
        expect([statusCode, body]).to.deep.equal([404, 'package repository not found\n']);
      }, PATIENCE_MS);
      const metrics = await other.client('metrics').text();
      expect(metrics).to.include('informer_restarts_total{resource="packagerepositories"} 0\n');
      expect(other.lines.filter(({ level, msg }) => level === 'warn' && msg !== 'request')).to.deep.equal([]);
      await other.close();
    }
  });
});
