import { expect } from 'chai';
import got, { type Got } from 'got';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { Verifier } from '../../src/domain/verifier.ts';
import { PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { eventually } from '../support/eventually.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import {
  applyObject,
  CHART,
  containerOf,
  type KubernetesObject,
  namespaceObject,
  renderChart,
  settingsOf,
} from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, type User, USERS } from '../support/peers/cluster.ts';
import { defineModuleSource, deleteModuleSource, putModuleSource } from '../support/peers/module-source.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { CA, serverCertificate } from '../support/tls/certificates.ts';

const MIB = 1024 * 1024;
/** How long the API server is away; two minutes by default, as an operator would have it. */
const OUTAGE_MS = Number(process.env['OUTAGE_SECONDS'] ?? 120) * 1000;

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm', 'docker-registry'], (programs) => {
  describe('the service in a cluster', () => {
    let cluster: Cluster;
    let registry: PeerRegistry;
    let chart: KubernetesObject[];
    let service: ServiceProcess;
    let guarded: Got;
    const image = makePackage(3 * MIB);

    before(async () => {
      cluster = await Cluster.start(programs);
      registry = await PeerRegistry.start({
        program: 'docker-registry',
        path: programs['docker-registry'],
        basicAuth: true,
      });
      await registry.publish(image);
      const admin = cluster.as('admin');
      for (const name of [NAMESPACE, 'd8-system']) await applyObject(admin, namespaceObject(name));
      chart = await renderChart(programs.helm);
      for (const object of chart) if (/Role|ServiceAccount/.test(object.kind)) await applyObject(admin, object);
      service = await start(chart);
      guarded = through(await cluster.guard(service.port, sidecarOf(chart)));
    });
    after(async () => {
      await service.close();
      await registry.close();
      await cluster.close();
    });

    /** The service with the settings that the chart writes for it. */
    async function start(objects: KubernetesObject[]): Promise<ServiceProcess> {
      const settings = parse(cluster.placed(settingsOf(objects))) as { store: object };
      return ServiceProcess.start({
        settings: { ...settings, store: { ...settings.store, directory: 'cache' } },
        flags: ['--kubeconfig', await cluster.kubeconfig('service')],
        // No proxy listens there: a request for the API server through it would fail.
        environment: { HTTPS_PROXY: 'http://127.0.0.1:1', NO_PROXY: '' },
      });
    }
    const sidecarOf = (objects: KubernetesObject[]): readonly string[] => containerOf(objects, 'kube-rbac-proxy').args;
    const chartWith = (values: string): Promise<KubernetesObject[]> =>
      renderChart(programs.helm, '--values', join(CHART, 'ci', `${values}-values.yaml`));
    const through = ({ port }: { readonly port: number }): Got =>
      got.extend({
        prefixUrl: `https://127.0.0.1:${String(port)}`,
        https: { certificateAuthority: CA },
        retry: { limit: 0 },
        throwHttpErrors: false,
        decompress: false,
      });
    const as = (user: User): { headers: { authorization: string } } => ({
      headers: { authorization: `Bearer ${USERS[user].token}` },
    });
    const dockerCfg = (password: string): string =>
      Buffer.from(JSON.stringify({ auths: { [registry.host]: { username: USERNAME, password } } })).toString('base64');
    const package_ = (digest: string, repository = registry.repo): string =>
      `package?${new URLSearchParams({ digest, repository }).toString()}`;

    /** Requests a package until the answer is the expected one; rejects after `limitMs`. */
    async function until(query: string, limitMs: number, expected: { status: number; body?: string }): Promise<void> {
      const started = performance.now();
      for (;;) {
        const { statusCode, body } = await service.client(query);
        if (statusCode === expected.status && (expected.body === undefined || body === expected.body)) return;
        if (performance.now() - started > limitMs) throw new Error(`still ${String(statusCode)} ${body.slice(0, 99)}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    const unknownRepository = { status: 404, body: 'repository is not known to this proxy\n' };

    it('is ready without repositories before the kind ModuleSource is defined', async () => {
      expect((await service.client('readyz')).body).to.equal('ok');
      expect((await service.client(package_(image.digest))).statusCode).to.equal(404);
    });

    it('gets no refusal with the rights of the chart, and continues after silent watches', async () => {
      // This is longer than the time-out of the client library for a silent watch.
      await new Promise((resolve) => setTimeout(resolve, 35_000));
      const metrics = await service.client('metrics').text();
      for (const resource of ['modulesources', 'secrets']) {
        expect(metrics).to.include(`registry_packages_proxy_informer_restarts_total{resource="${resource}"} 0\n`);
      }
    });

    it('uses a ModuleSource and each new password within 5 s', async () => {
      await defineModuleSource(cluster.as('admin'));
      const passwords: [password: string, status: number][] = [
        ['canary-old', 502],
        [PASSWORD, 200],
        ['canary-new', 502],
        [PASSWORD, 200],
      ];
      for (const [seed, [password, status]] of passwords.entries()) {
        const fresh = makePackage(1000, 50 + seed);
        // An absent package is not cached, and only an accepted account gets 404 for it.
        if (status === 200) await registry.publish(fresh);
        const before = registry.accessLog.length;
        const fields = { repo: registry.repo, scheme: 'HTTP', dockerCfg: dockerCfg(password) };
        await putModuleSource(cluster.as('admin'), 'a', fields);
        await until(package_(fresh.digest), 5000, { status });
        const seen = registry.accessLog.slice(before).filter(({ url }) => url.includes(fresh.digest));
        expect(seen.at(-1)?.status, password).to.equal(status === 200 ? 200 : 401);
      }
      await until(package_(image.digest), 5000, { status: 200 });
    });

    it('admits only authorized clients through the sidecar', async () => {
      const query = package_(image.digest);
      const table: [path: string, user: User | undefined, status: number][] = [
        ['healthz', undefined, 200],
        [query, undefined, 401],
        [query, 'stranger', 403],
        [query, 'scraper', 403],
        [query, 'node', 200],
        ['metrics', undefined, 401],
        ['metrics', 'node', 403],
        ['metrics', 'scraper', 200],
        ['readyz', undefined, 401],
        [query.replace('package', 'explain'), undefined, 401],
        [query.replace('package', 'explain'), 'node', 403],
        [query.replace('package', 'explain'), 'scraper', 403],
        [query.replace('package', 'explain'), 'admin', 200],
        ['status', undefined, 401],
        ['status', 'node', 403],
        ['status', 'scraper', 403],
        ['status', 'admin', 200],
      ];
      for (const [path, user, status] of table) {
        const response = await guarded(path, user === undefined ? {} : as(user));
        expect(response.statusCode, `${path} as ${String(user)}`).to.equal(status);
      }
      const response = await guarded(query, { ...as('node'), responseType: 'buffer' });
      expect(Buffer.compare(response.body, image.layer.bytes)).to.equal(0);
    });

    it('answers HEAD through the sidecar to clients with the right to fetch', async () => {
      const response = await guarded.head(package_(image.digest), as('node'));
      expect(response.statusCode).to.equal(200);
      expect(response.headers['content-length']).to.equal(String(3 * MIB));
      expect((await guarded.head(package_(image.digest), as('stranger'))).statusCode).to.equal(403);
    });

    it('admits a node without a group with the token of the reader', async () => {
      const { body } = await cluster
        .as('admin')
        .post<{ status: { token: string } }>(
          `api/v1/namespaces/${NAMESPACE}/serviceaccounts/registry-packages-proxy-reader/token`,
          { json: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } },
        );
      const headers = { authorization: `Bearer ${body.status.token}` };
      expect((await guarded(package_(image.digest), { headers })).statusCode).to.equal(200);
      expect((await guarded('metrics', { headers })).statusCode).to.equal(403);
    });

    it('serves examples/fetch-package.sh with the token of a node', async () => {
      const script = join(import.meta.dirname, '../../examples/fetch-package.sh');
      const fetchAs = (user: User) =>
        promisify(execFile)(script, [image.digest, output, registry.repo, ''], {
          env: {
            ...process.env,
            PACKAGES_PROXY_ADDRESSES: new URL(String(guarded.defaults.options.prefixUrl)).host,
            PACKAGES_PROXY_SCHEME: 'https',
            PACKAGES_PROXY_CA: cluster.certificates.ca,
            PACKAGES_PROXY_TOKEN: USERS[user].token,
          },
        });
      const directory = await mkdtemp(join(tmpdir(), 'fetched-'));
      const output = join(directory, 'package');
      await fetchAs('node');
      expect(Buffer.compare(await readFile(output), image.layer.bytes)).to.equal(0);
      expect((await rejection(fetchAs('stranger'))).message).to.include('403');
      await rm(directory, { recursive: true });
    });

    it('identifies clients by certificates of the configured CA', async () => {
      const client = through(await cluster.guard(service.port, sidecarOf(await chartWith('ha'))));
      const { cert: certificate, key } = serverCertificate('localhost');
      const options = { https: { certificateAuthority: CA, certificate, key } };
      const response = await client(package_(image.digest), options);
      expect(response.statusCode).to.equal(403);
      expect(response.body).to.include('user=localhost');
      expect((await client(package_(image.digest))).statusCode).to.equal(401);
    });

    it('finishes a download through the sidecar when the pod is stopped', async () => {
      const large = makePackage(64 * MIB, 3);
      await registry.publish(large);
      const leaving = await start(chart);
      const sidecar = await cluster.guard(leaving.port, sidecarOf(chart));
      await eventually(async () => {
        expect((await leaving.client('readyz')).body).to.equal('ok');
      });
      const verifier = new Verifier(large.layer.descriptor);
      let stopped: Promise<unknown> | undefined;
      for await (const chunk of through(sidecar).stream(package_(large.digest), as('node')) as AsyncIterable<Buffer>) {
        if (stopped === undefined) {
          stopped = Promise.all([leaving.end('SIGTERM'), sidecar.end('SIGTERM')]);
          // No new connection is accepted: the next requests are sent while the replicas stop.
          await eventually(() => rejection(leaving.client('healthz')));
        }
        verifier.update(chunk);
      }
      verifier.verify();
      await stopped;
      await leaving.close();
    });

    it('forgets a deleted ModuleSource within 5 s', async () => {
      await putModuleSource(cluster.as('admin'), 'b', { repo: `${registry.host}/other`, scheme: 'HTTP' });
      const other = package_(makePackage(1, 7).digest, `${registry.host}/other`);
      await until(other, 5000, { status: 502 });
      await deleteModuleSource(cluster.as('admin'), 'b');
      await until(other, 5000, unknownRepository);
      const { length } = registry.accessLog;
      expect((await service.client(other)).statusCode).to.equal(404);
      expect(registry.accessLog).to.have.lengthOf(length);
    });

    it('continues while the API server is away, and afterwards forgets the objects deleted in the meantime', async function () {
      this.timeout(OUTAGE_MS + 60_000);
      await cluster.stopApiServer();
      const ends = performance.now() + OUTAGE_MS;
      for (let seed = 100; performance.now() < ends; seed++) {
        const fresh = makePackage(10_000, seed);
        await registry.publish(fresh);
        for (const cache of ['fwd=miss; stored', 'hit']) {
          const response = await service.client(package_(fresh.digest));
          expect(response.statusCode).to.equal(200);
          expect(response.headers['cache-status']).to.equal(`registry-packages-proxy; ${cache}`);
        }
        expect((await service.client('healthz')).statusCode).to.equal(200);
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
      await cluster.behindItsBack((client) => deleteModuleSource(client, 'a'));
      await cluster.startApiServer();
      await until(package_(makePackage(1, 9999).digest), 10_000, unknownRepository);
    });
  });
});
