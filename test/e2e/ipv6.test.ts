import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Got } from 'got';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, CHART, namespaceObject } from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, USERS } from '../support/peers/cluster.ts';
import { ServiceProcess } from '../support/service-process.ts';

const run = promisify(execFile);
const SCRIPT = join(import.meta.dirname, '../../examples/fetch-package.sh');
const LOOPBACK = '::1';
const hasIPv6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === LOOPBACK),
);

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm'], (programs) => {
  describe('on a master whose address is one of IPv6', () => {
    let cluster: Cluster;
    let admin: Got;
    let registry: FakeRegistry;
    let service: ServiceProcess;
    let home: string;
    const image = makePackage(300_000);
    before(async function () {
      if (!hasIPv6) this.skip();
      home = await mkdtemp(join(tmpdir(), 'ipv6-'));
      cluster = await Cluster.start(programs);
      admin = cluster.as('admin');
      registry = await FakeRegistry.start();
      registry.publish(image);
      service = await ServiceProcess.start({
        settings: { credentials: { registries: [{ repo: `${registry.host}/a`, default: true, scheme: 'HTTP' }] } },
      });
    });
    after(async () => {
      if (!hasIPv6) return;
      await service.close();
      await registry.close();
      await cluster.close();
      await rm(home, { recursive: true });
    });

    const data = async (path: string): Promise<Readonly<Record<string, string>>> =>
      (await admin<{ data: Record<string, string> }>(`api/v1/namespaces/${NAMESPACE}/${path}`)).body.data;

    it('a node fetches a package, and knows the master by the CA and the certificate of the chart', async () => {
      for (const name of ['d8-system', 'd8-monitoring', NAMESPACE]) await applyObject(admin, namespaceObject(name));
      const release = ['--namespace', NAMESPACE, '--kubeconfig', await cluster.kubeconfig('admin')];
      await run(programs.helm, ['install', 'test', CHART, ...release, '--set', `tls.addresses={${LOOPBACK}}`]);
      const { 'tls.crt': cert = '', 'tls.key': key = '' } = await data('secrets/registry-packages-proxy-serving');
      const { 'ca.crt': ca = '' } = await data('configmaps/registry-packages-proxy-ca');
      const file = (name: string): string => join(home, name);
      await writeFile(file('cert'), Buffer.from(cert, 'base64'));
      await writeFile(file('key'), Buffer.from(key, 'base64'));
      await writeFile(file('ca'), ca);
      const { body } = await admin<{
        spec: { template: { spec: { containers: { name: string; args: string[] }[] } } };
      }>(`apis/apps/v1/namespaces/${NAMESPACE}/deployments/registry-packages-proxy`);
      const sidecar = body.spec.template.spec.containers.find(({ name }) => name === 'kube-rbac-proxy');
      const own = [`--tls-cert-file=${file('cert')}`, `--tls-private-key-file=${file('key')}`];
      const { port } = await cluster.guard(service.port, [...(sidecar?.args ?? []), ...own], { ca, podIp: LOOPBACK });
      await run(SCRIPT, [image.digest, file('package'), '', ''], {
        env: {
          ...process.env,
          PACKAGES_PROXY_ADDRESSES: `[${LOOPBACK}]:${String(port)}`,
          PACKAGES_PROXY_SCHEME: 'https',
          PACKAGES_PROXY_CA: file('ca'),
          PACKAGES_PROXY_TOKEN: USERS.node.token,
          PACKAGES_PROXY_ATTEMPTS: '1',
        },
      });
      expect(Buffer.compare(await readFile(file('package')), image.layer.bytes)).to.equal(0);
      const line = await service.logged('request', { route: '/package', status: 200 });
      expect(line['client']).to.equal(LOOPBACK);
    });
  });
});
