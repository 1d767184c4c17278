import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { mergeSettings, readSettingsFile } from '../../src/infrastructure/load-settings.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, CHART, namespaceObject, renderChart } from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, USERS } from '../support/peers/cluster.ts';
import { defineKind, defineModuleSource } from '../support/peers/module-source.ts';
import { rejection } from '../support/rejection.ts';

const run = promisify(execFile);

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm'], (programs) => {
  describe('the chart', () => {
    let cluster: Cluster;
    let kubeconfig: string;
    before(async () => {
      cluster = await Cluster.start(programs);
      const admin = cluster.as('admin');
      await defineModuleSource(admin);
      await defineKind(admin, { group: 'autoscaling.k8s.io', version: 'v1', kind: 'VerticalPodAutoscaler' });
      await defineKind(admin, { group: 'monitoring.coreos.com', version: 'v1', kind: 'PodMonitor' });
      for (const name of [NAMESPACE, 'd8-system']) await applyObject(admin, namespaceObject(name));
      kubeconfig = await cluster.kubeconfig('admin');
    });
    after(() => cluster.close());

    it('has nothing that Helm finds fault with', async () => {
      const { stdout } = await run(programs.helm, ['lint', '--strict', CHART]);
      expect(stdout).to.include('0 chart(s) failed');
    });

    for (const values of readdirSync(join(CHART, 'ci'))) {
      it(`renders objects that the API server takes, with ci/${values}`, async () => {
        const objects = await renderChart(programs.helm, '--values', join(CHART, 'ci', values));
        expect(objects.length).to.be.greaterThan(10);
        for (const object of objects) await applyObject(cluster.as('admin'), object, true);
      });
    }

    for (const values of readdirSync(join(CHART, 'ci'))) {
      it(`writes settings that the service understands, with ci/${values}`, async () => {
        const objects = await renderChart(programs.helm, '--values', join(CHART, 'ci', values));
        const configMap = objects.find(({ kind }) => kind === 'ConfigMap') as
          { data?: Record<string, string> } | undefined;
        const directory = await mkdtemp(join(tmpdir(), 'chart-'));
        await writeFile(join(directory, 'settings.yaml'), configMap?.data?.['settings.yaml'] ?? '');
        const files = [join(CHART, '../../config/default.yaml'), join(directory, 'settings.yaml')];
        const settings = mergeSettings(files.map(readSettingsFile));
        await rm(directory, { recursive: true });
        expect(settings.credentials.source).to.equal('kubernetes');
        const deployment = JSON.stringify(objects.find(({ kind }) => kind === 'Deployment'));
        const volumeMebibytes = Number(/"sizeLimit":"(\d+)Mi"/.exec(deployment)?.[1]);
        expect(volumeMebibytes * 2 ** 20).to.be.at.least(settings.store.maxSize + 64 * 2 ** 20);
      });
    }

    it('refuses a wrong value and names its path', async () => {
      const wrong: [set: string, path: string][] = [
        ['cache.size=lots', '/cache/size'],
        ['port=0', '/port'],
        ['nonsense=1', 'nonsense'],
      ];
      for (const [set, path] of wrong) {
        expect((await rejection(renderChart(programs.helm, '--set', set))).message, set).to.include(path);
      }
    });

    it('is installed by one command', async () => {
      const args = ['install', 'test', CHART, '--namespace', NAMESPACE, '--kubeconfig', kubeconfig];
      const { stdout } = await run(programs.helm, args);
      expect(stdout).to.include('STATUS: deployed');
      const { body } = await cluster.as('admin')<{ spec: { replicas: number } }>(
        `apis/apps/v1/namespaces/${NAMESPACE}/deployments/registry-packages-proxy`,
      );
      expect(body.spec.replicas).to.equal(1);
    });

    describe('lets, once it is installed,', () => {
      async function may(user: keyof typeof USERS, attributes: object): Promise<boolean> {
        const { name, groups } = USERS[user];
        const review = { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview' };
        const { body } = await cluster
          .as('admin')
          .post<{ status: { allowed: boolean } }>('apis/authorization.k8s.io/v1/subjectaccessreviews', {
            json: { ...review, spec: { user: name, groups, ...attributes } },
          });
        return body.status.allowed;
      }
      const resource = (group: string, name: string, verb: string, more: object = {}): object => ({
        resourceAttributes: { group, resource: name, verb, ...more },
      });
      const path = (url: string, verb: string): object => ({ nonResourceAttributes: { path: url, verb } });
      const theSecret = { namespace: 'd8-system', name: 'deckhouse-registry' };

      it('the service do what it does', async () => {
        for (const verb of ['get', 'list', 'watch']) {
          expect(await may('service', resource('deckhouse.io', 'modulesources', verb)), verb).to.equal(true);
          expect(await may('service', resource('', 'secrets', verb, theSecret)), verb).to.equal(true);
        }
        expect(await may('service', resource('authentication.k8s.io', 'tokenreviews', 'create'))).to.equal(true);
        expect(await may('service', resource('authorization.k8s.io', 'subjectaccessreviews', 'create'))).to.equal(true);
      });

      it('the service do nothing else', async () => {
        const forbidden = [
          resource('deckhouse.io', 'modulesources', 'update'),
          resource('deckhouse.io', 'modulesources', 'delete'),
          resource('', 'secrets', 'get', { ...theSecret, name: 'other' }),
          resource('', 'secrets', 'list', { namespace: 'd8-system' }),
          resource('', 'secrets', 'get', { namespace: NAMESPACE, name: 'deckhouse-registry' }),
          resource('', 'secrets', 'update', theSecret),
          resource('', 'pods', 'list'),
          resource('', 'events', 'create', { namespace: NAMESPACE }),
          path('/package', 'get'),
          path('/metrics', 'get'),
        ];
        for (const attributes of forbidden) {
          expect(await may('service', attributes), JSON.stringify(attributes)).to.equal(false);
        }
      });

      it('nodes fetch packages, monitoring read metrics, and neither the other', async () => {
        for (const verb of ['get', '*']) {
          expect(await may('node', path('/package', verb))).to.equal(true);
          expect(await may('scraper', path('/metrics', verb))).to.equal(true);
          expect(await may('node', path('/metrics', verb))).to.equal(false);
          expect(await may('scraper', path('/package', verb))).to.equal(false);
          expect(await may('stranger', path('/package', verb))).to.equal(false);
        }
        expect(await may('node', path('/package/x', 'get'))).to.equal(false);
      });
    });
  });
});
