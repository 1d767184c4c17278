import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { promisify } from 'node:util';
import type { Got } from 'got';
import { describeWithAll } from '../support/peers/binaries.ts';
import {
  applyObject,
  CHART,
  containerOf,
  type KubernetesObject,
  namespaceObject,
  renderChart,
} from '../support/peers/chart.ts';
import { Cluster, NAMESPACE } from '../support/peers/cluster.ts';

const run = promisify(execFile);

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm'], (programs) => {
  describe('the certificate of the guarded port', () => {
    let cluster: Cluster;
    let admin: Got;
    let kubeconfig: string;
    before(async () => {
      cluster = await Cluster.start(programs);
      admin = cluster.as('admin');
      kubeconfig = await cluster.kubeconfig('admin');
      for (const name of ['d8-system', 'd8-monitoring', NAMESPACE]) await applyObject(admin, namespaceObject(name));
      await addMaster('master-0', '192.0.2.10', '2001:db8::10');
    });
    after(() => cluster.close());

    async function addMaster(name: string, ...ips: readonly string[]): Promise<void> {
      const labels = { 'node-role.kubernetes.io/control-plane': '' };
      const addresses = [
        ...ips.map((address) => ({ type: 'InternalIP', address })),
        { type: 'Hostname', address: name },
      ];
      const node = { apiVersion: 'v1', kind: 'Node', metadata: { name, labels }, status: { addresses } };
      await admin.post('api/v1/nodes', { json: node });
    }
    const helm = async (...args: string[]): Promise<string> => {
      const release = [...args, '--namespace', NAMESPACE, '--kubeconfig', kubeconfig];
      return (await run(programs.helm, release)).stdout;
    };
    const read = async (what: string): Promise<Readonly<Record<string, string>>> => {
      const { body } = await admin<{ data: Record<string, string> }>(`api/v1/namespaces/${NAMESPACE}/${what}`);
      return body.data;
    };
    async function certificates(): Promise<{ ca: X509Certificate; serving: X509Certificate }> {
      const { 'ca.crt': ca = '' } = await read('configmaps/registry-packages-proxy-ca');
      const { 'tls.crt': serving = '' } = await read('secrets/registry-packages-proxy-serving');
      return { ca: new X509Certificate(ca), serving: new X509Certificate(Buffer.from(serving, 'base64')) };
    }

    it('is made once with a CA for the Service and the masters, and is kept by upgrades', async () => {
      const notes = await helm('install', 'test', CHART);
      expect(notes).to.include('get configmap registry-packages-proxy-ca').and.not.to.include(' -k');
      const first = await certificates();
      expect(first.serving.verify(first.ca.publicKey)).to.equal(true);
      expect(first.ca.ca).to.equal(true);
      // OpenSSL would take it for self-signed.
      expect(first.serving.issuer).not.to.equal(first.serving.subject);
      for (const name of ['master-0', 'registry-packages-proxy', `registry-packages-proxy.${NAMESPACE}.svc`]) {
        expect(first.serving.checkHost(name), name).to.equal(name);
      }
      for (const ip of ['192.0.2.10', '2001:db8::10']) expect(first.serving.checkIP(ip), ip).to.equal(ip);

      await helm('upgrade', 'test', CHART);
      const second = await certificates();
      expect(second.ca.fingerprint256).to.equal(first.ca.fingerprint256);
      expect(second.serving.fingerprint256).to.equal(first.serving.fingerprint256);

      await helm('upgrade', 'test', CHART, '--set', 'tls.addresses={packages.example.com,198.51.100.7}');
      const third = await certificates();
      expect(third.ca.fingerprint256).to.equal(first.ca.fingerprint256);
      expect(third.serving.verify(first.ca.publicKey)).to.equal(true);
      expect(third.serving.checkHost('packages.example.com')).to.equal('packages.example.com');
      expect(third.serving.checkIP('198.51.100.7')).to.equal('198.51.100.7');
    });

    it('includes a new master after the next upgrade, under the same CA', async () => {
      const before = await certificates();
      await addMaster('master-1', '192.0.2.11');
      expect(before.serving.checkIP('192.0.2.11')).to.equal(undefined);
      await helm('upgrade', 'test', CHART);
      const after = await certificates();
      expect(after.serving.checkIP('192.0.2.11')).to.equal('192.0.2.11');
      expect(after.serving.checkHost('master-1')).to.equal('master-1');
      expect(after.ca.fingerprint256).to.equal(before.ca.fingerprint256);
      expect(after.serving.verify(before.ca.publicKey)).to.equal(true);
    });

    it('is served by the sidecar, and the key of its CA reaches no pod', async () => {
      const { body } = await admin<{ spec: { template: { spec: { volumes: object[] } } } }>(
        `apis/apps/v1/namespaces/${NAMESPACE}/deployments/registry-packages-proxy`,
      );
      const deployment = JSON.stringify(body);
      expect(deployment).to.include('--tls-cert-file=/etc/tls/tls.crt');
      expect(deployment).to.include('"secretName":"registry-packages-proxy-serving"');
      expect(JSON.stringify(body.spec.template.spec.volumes)).not.to.include('registry-packages-proxy-ca');
    });

    const kinds = (objects: readonly KubernetesObject[]): string[] => objects.map(({ kind }) => kind);

    it('is the same at each rendering without a cluster, which makes no CA', async () => {
      const [one, other] = [await renderChart(programs.helm), await renderChart(programs.helm)];
      expect(one).to.deep.equal(other);
      expect(JSON.stringify(containerOf(one, 'kube-rbac-proxy'))).not.to.include('--tls-cert-file');
      expect(JSON.stringify(one)).not.to.include('registry-packages-proxy-serving');
    });

    it('is made by cert-manager, by its own CA or by the issuer of the values', async () => {
      const own = await renderChart(programs.helm, '--set', 'tls.mode=certManager');
      expect(kinds(own).filter((kind) => ['Issuer', 'Certificate'].includes(kind))).to.have.lengthOf(4);
      const named = await renderChart(programs.helm, '--set', 'tls.mode=certManager,tls.issuerRef.name=company');
      const made = named.filter(({ kind }) => ['Issuer', 'Certificate'].includes(kind));
      expect(kinds(made)).to.deep.equal(['Certificate']);
      expect(JSON.stringify(made)).to.include('"issuerRef":{"name":"company"}');
      expect(JSON.stringify(containerOf(named, 'kube-rbac-proxy'))).to.include('--tls-cert-file=/etc/tls/tls.crt');
    });

    it('is that of the Secret in the values, and the chart then makes none', async () => {
      await helm('upgrade', 'test', CHART, '--set', 'tlsSecret=mine');
      const { body } = await admin<{ items: { metadata: { name: string } }[] }>(
        `api/v1/namespaces/${NAMESPACE}/secrets`,
      );
      expect(body.items.map(({ metadata }) => metadata.name)).not.to.include('registry-packages-proxy-serving');
    });
  });
});
