import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, CHART, namespaceObject } from '../support/peers/chart.ts';
import { Cluster, NAMESPACE } from '../support/peers/cluster.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';

const run = promisify(execFile);

describeWithAll(['helm', 'helm-docs'], (programs) => {
  describe('the README of the chart', () => {
    it('is the output of helm-docs for the values', async () => {
      const home = await mkdtemp(join(tmpdir(), 'chart-'));
      await cp(CHART, join(home, 'chart'), { recursive: true });
      await run(programs['helm-docs'], ['--chart-search-root', home, '--log-level', 'error']);
      const made = await readFile(join(home, 'chart/README.md'), 'utf8');
      await rm(home, { recursive: true });
      expect(await readFile(join(CHART, 'README.md'), 'utf8')).to.equal(made);
      const values = parse(await readFile(join(CHART, 'values.yaml'), 'utf8')) as Record<string, unknown>;
      for (const name of Object.keys(values)) expect(made, name).to.match(new RegExp(`^\\| ${name}[ .]`, 'm'));
    });

    it('names the sidecar of the values', async () => {
      const chart = await readFile(join(CHART, 'Chart.yaml'), 'utf8');
      const { kubeRbacProxy } = parse(await readFile(join(CHART, 'values.yaml'), 'utf8')) as {
        kubeRbacProxy: { image: string };
      };
      expect(chart).to.include(`image: ${kubeRbacProxy.image}\n`);
    });
  });
});

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm', 'docker-registry'], (programs) => {
  describe('the chart in a registry', () => {
    let cluster: Cluster;
    let registry: PeerRegistry;
    let home: string;
    before(async () => {
      home = await mkdtemp(join(tmpdir(), 'published-'));
      cluster = await Cluster.start(programs);
      registry = await PeerRegistry.start({ program: 'docker-registry', path: programs['docker-registry'] });
      for (const name of ['d8-system', NAMESPACE]) await applyObject(cluster.as('admin'), namespaceObject(name));
    });
    after(async () => {
      await registry.close();
      await cluster.close();
      await rm(home, { recursive: true });
    });

    it('is packaged, pushed, and installed from the registry', async () => {
      const env = { ...process.env, HELM_CONFIG_HOME: home, HELM_CACHE_HOME: home, HELM_DATA_HOME: home };
      const helm = async (...args: readonly string[]): Promise<string> =>
        (await run(programs.helm, args, { env })).stdout;
      const { version } = parse(await readFile(join(CHART, 'Chart.yaml'), 'utf8')) as { version: string };
      const reference = `oci://${registry.host}/charts`;
      await helm('package', CHART, '--destination', home);
      await helm('push', join(home, `registry-packages-proxy-${version}.tgz`), reference, '--plain-http');
      const published = [`${reference}/registry-packages-proxy`, '--version', version, '--plain-http'];
      expect(await helm('show', 'readme', ...published)).to.include('| expectedClients |');
      const kubeconfig = await cluster.kubeconfig('admin');
      const release = ['--namespace', NAMESPACE, '--kubeconfig', kubeconfig];
      const image = 'image.repository=registry.example.com/registry-packages-proxy';
      expect(await helm('install', 'test', ...published, ...release, '--set', image)).to.include('STATUS: deployed');
      const { body } = await cluster.as('admin')<object>(
        `apis/apps/v1/namespaces/${NAMESPACE}/deployments/registry-packages-proxy`,
      );
      expect(JSON.stringify(body)).to.include(`registry.example.com/registry-packages-proxy:${version}`);
    });
  });
});
