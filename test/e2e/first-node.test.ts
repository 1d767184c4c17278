import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import got, { type Got } from 'got';
import { archiveOf } from '../support/archive.ts';
import { eventually } from '../support/eventually.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makeImage, type TestImage } from '../support/image.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, CHART, namespaceObject } from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, USERS } from '../support/peers/cluster.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { CA } from '../support/tls/certificates.ts';

const run = promisify(execFile);
const SCRIPT = join(import.meta.dirname, '../../examples/bootstrap.sh');
const UUID = '0f0e6a2c-1f43-4c6c-a0f9-2c2b6d0c4c11';
const PROGRAM = '#!/bin/sh\n[ "$1" = version ] && echo 1.0.0\n';
const PODS = `api/v1/namespaces/${NAMESPACE}/pods`;
const NODES = { kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name: USERS.node.groups[0] };

const imageOf = (path: string, content: string): TestImage => makeImage([gzipSync(archiveOf({ path, content }))]);

interface Pod {
  readonly status: { readonly phase: string; readonly podIP?: string };
}

describeWithAll(['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-rbac-proxy', 'helm'], (programs) => {
  describe('a node that has only the addresses of the masters', () => {
    let directory: string;
    let cluster: Cluster;
    let registry: FakeRegistry;
    let service: ServiceProcess;
    let sidecarPort: number;
    let program: TestImage;
    let kubelet: TestImage;

    before(async () => {
      directory = await mkdtemp(join(tmpdir(), 'first-node-'));
      registry = await FakeRegistry.start();
      program = imageOf('opt/bin/rpp-get', PROGRAM);
      kubelet = imageOf('opt/bin/kubelet', 'the kubelet\n');
      registry.publish(program, kubelet);
      const registries = [{ repo: `${registry.host}/deckhouse`, default: true, scheme: 'HTTP' }];
      const bootstrap = { listenAddress: '127.0.0.1:0', clusterUUID: UUID };
      service = await ServiceProcess.start({ settings: { bootstrap, credentials: { registries } } });
      cluster = await Cluster.start(programs);
      await cluster.startControllers(programs['kube-controller-manager']);
      const admin = cluster.as('admin');
      for (const name of ['d8-system', 'd8-monitoring', NAMESPACE]) await applyObject(admin, namespaceObject(name));
      const release = ['--namespace', NAMESPACE, '--kubeconfig', await cluster.kubeconfig('admin')];
      const values = ['--set', 'nodeToken.enabled=true', '--set-json', `clients.discovery=[${JSON.stringify(NODES)}]`];
      await run(programs.helm, ['install', 'test', CHART, ...release, ...values]);
      const { body } = await admin<{
        spec: { template: { spec: { containers: { name: string; args: string[] }[] } } };
      }>(`apis/apps/v1/namespaces/${NAMESPACE}/deployments/registry-packages-proxy`);
      const sidecar = body.spec.template.spec.containers.find(({ name }) => name === 'kube-rbac-proxy');
      ({ port: sidecarPort } = await cluster.guard(service.port, sidecar?.args ?? []));
      await reportPod(admin);
    });
    after(async () => {
      for (const part of [service, cluster, registry]) await (part as typeof part | undefined)?.close();
      await rm(directory, { recursive: true });
    });

    /** Reports the pod of the Deployment as a kubelet does. */
    async function reportPod(admin: Got): Promise<void> {
      await eventually(async () => {
        const { body } = await admin<{ items: { metadata: { name: string } }[] }>(PODS);
        const name = body.items[0]?.metadata.name;
        if (name === undefined) throw new Error('the Deployment has no pod yet');
        const status = { phase: 'Running', podIP: '127.0.0.1', podIPs: [{ ip: '127.0.0.1' }] };
        await admin.patch(`${PODS}/${name}/status`, {
          headers: { 'content-type': 'application/merge-patch+json' },
          body: JSON.stringify({ status }),
        });
      }, 20_000);
    }

    /** As rpp-get does: the pods and the token by the API, then the package from the first pod that has it. */
    async function fetchPackage(api: Got, digest: string): Promise<Uint8Array> {
      const { body: list } = await api<{ items: Pod[] }>(`${PODS}?labelSelector=app%3Dregistry-packages-proxy`);
      const secret = await api<{ data: { token: string } }>(
        `api/v1/namespaces/${NAMESPACE}/secrets/registry-packages-proxy-token`,
      );
      const token = Buffer.from(secret.body.data.token, 'base64').toString();
      const addresses = list.items.filter(({ status }) => status.phase === 'Running').map(({ status }) => status.podIP);
      for (const address of addresses) {
        const url = `https://${address ?? ''}:${String(sidecarPort)}/package?digest=${encodeURIComponent(digest)}`;
        const headers = { authorization: `Bearer ${token}` };
        return got(url, { headers, https: { certificateAuthority: CA } }).buffer();
      }
      throw new Error('no pod runs');
    }

    it('gets its first program from the bootstrap port, and fetches all packages with it and the token of the cluster', async () => {
      const { port } = await service.logged('bootstrap port is open');
      await run(SCRIPT, [program.digest, join(directory, 'rpp-get')], {
        env: {
          ...process.env,
          PACKAGES_PROXY_BOOTSTRAP_ADDRESSES: `127.0.0.1:1,127.0.0.1:${String(port)}`,
          PACKAGES_PROXY_BOOTSTRAP_CLUSTER_UUID: UUID,
          PACKAGES_PROXY_ATTEMPTS: '1',
        },
      });
      expect(await readFile(join(directory, 'rpp-get'), 'utf8')).to.equal(PROGRAM);
      let archive: Uint8Array = new Uint8Array();
      // The controller writes the token a moment after the Secret.
      await eventually(async () => {
        archive = await fetchPackage(cluster.as('node'), kubelet.digest);
      });
      await writeFile(join(directory, 'package'), archive);
      await run('tar', ['-xzf', join(directory, 'package'), '-C', directory]);
      expect(await readFile(join(directory, 'opt/bin/kubelet'), 'utf8')).to.equal('the kubelet\n');
    });

    it('can find the pods and the token only if clients.discovery names it', async () => {
      const error = await rejection(fetchPackage(cluster.as('stranger'), kubelet.digest));
      expect(String(error)).to.include('403');
      const secret = `api/v1/namespaces/${NAMESPACE}/secrets/registry-packages-proxy-token`;
      expect(String(await rejection(cluster.as('stranger')(secret)))).to.include('403');
      // No other Secret of the namespace is open to a node.
      const others = `api/v1/namespaces/${NAMESPACE}/secrets`;
      expect(String(await rejection(cluster.as('node')(others)))).to.include('403');
    });
  });
});
