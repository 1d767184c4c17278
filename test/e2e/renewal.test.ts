import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkServerIdentity } from 'node:tls';
import { promisify } from 'node:util';
import got from 'got';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, containerOf, renderChart } from '../support/peers/chart.ts';
import { Cluster, USERS } from '../support/peers/cluster.ts';
import { ServiceProcess } from '../support/service-process.ts';

const run = promisify(execFile);
const MIB = 1024 * 1024;
const LIFE_MS = 40_000;
const RENEWALS = 3;

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm'], (programs) => {
  describe('a certificate that ends after 40 s', () => {
    let cluster: Cluster;
    let registry: FakeRegistry;
    let service: ServiceProcess;
    let home: string;
    const image = makePackage(8 * MIB);
    const file = (name: string): string => join(home, name);

    before(async () => {
      home = await mkdtemp(join(tmpdir(), 'renewal-'));
      cluster = await Cluster.start(programs);
      registry = await FakeRegistry.start();
      registry.publish(image);
      await applyObject(cluster.as('admin'), {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRoleBinding',
        metadata: { name: 'sidecar' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:auth-delegator' },
        subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: USERS.service.name }],
      } as never);
      await makeAuthority();
      await renew();
      service = await ServiceProcess.start({
        settings: {
          credentials: { registries: [{ repo: `${registry.host}/a`, default: true, scheme: 'HTTP' }] },
          server: { certificates: [{ role: 'serving', certificate: file('tls.crt') }] },
        },
      });
    });
    after(async () => {
      await service.close();
      await registry.close();
      await cluster.close();
      await rm(home, { recursive: true });
    });

    async function makeAuthority(): Promise<void> {
      const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
      await run('openssl', ['req', '-x509', ...key, '-subj', '/CN=ca', '-keyout', file('ca.key'), '-out', file('ca')]);
      await run('openssl', ['req', ...key, '-subj', '/CN=leaf', '-keyout', file('leaf.key'), '-out', file('leaf.csr')]);
      await writeFile(file('index'), '');
      await writeFile(
        file('ca.conf'),
        `[ca]\ndefault_ca=d\n[d]\ndatabase=${file('index')}\nrand_serial=yes\nnew_certs_dir=${home}\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=IP:127.0.0.1\n`,
      );
    }

    /** Both files are replaced whole, as by the kubelet. */
    async function renew(): Promise<void> {
      const end = new Date(Date.now() + LIFE_MS).toISOString().replaceAll(/[-:T]|\.\d+/g, '');
      const options = ['-config', file('ca.conf'), '-cert', file('ca'), '-keyfile', file('ca.key'), '-extensions', 'e'];
      const files = ['-in', file('leaf.csr'), '-out', file('new.crt')];
      await run('openssl', ['ca', '-batch', '-notext', ...options, '-enddate', end, ...files]);
      await writeFile(file('new.key'), await readFile(file('leaf.key')));
      await rename(file('new.key'), file('tls.key'));
      await rename(file('new.crt'), file('tls.crt'));
    }

    it('is renewed while the sidecar runs and each download succeeds', async () => {
      const { args } = containerOf(await renderChart(programs.helm), 'kube-rbac-proxy');
      const own = [
        `--tls-cert-file=${file('tls.crt')}`,
        `--tls-private-key-file=${file('tls.key')}`,
        // Each minute by default, which certificates of hours or more leave time for.
        '--tls-reload-interval=2s',
      ];
      const ca = await readFile(file('ca'), 'utf8');
      const { port } = await cluster.guard(service.port, [...args, ...own], { ca });
      const first = await readFile(file('tls.crt'), 'utf8');
      const seen = new Set<string>();
      let downloads = 0;
      let renewals = 0;
      let next = performance.now() + LIFE_MS / 2;
      while (renewals < RENEWALS || new X509Certificate(first).validToDate.getTime() > Date.now()) {
        const download = got(`https://127.0.0.1:${String(port)}/package?digest=${image.digest}`, {
          headers: { authorization: `Bearer ${USERS.admin.token}` },
          https: {
            certificateAuthority: ca,
            checkServerIdentity: (host, certificate) => {
              seen.add(certificate.fingerprint256);
              return checkServerIdentity(host, certificate);
            },
          },
          // Each download verifies the certificate.
          agent: { https: new Agent({ maxCachedSessions: 0 }) },
          retry: { limit: 0 },
        });
        expect((await download.buffer()).byteLength).to.equal(8 * MIB);
        downloads += 1;
        if (performance.now() < next) continue;
        await renew();
        renewals += 1;
        next = performance.now() + LIFE_MS / 2;
      }
      expect(seen.size).to.be.at.least(RENEWALS);
      expect(downloads).to.be.greaterThan(100);
      const end = new X509Certificate(await readFile(file('tls.crt'))).validToDate.getTime() / 1000;
      expect(await service.client('metrics').text()).to.include(`end_timestamp_seconds{role="serving"} ${String(end)}`);
    }).timeout(180_000);
  });
});
