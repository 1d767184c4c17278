import { expect } from 'chai';
import got, { type Got } from 'got';
import { PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, namespaceObject, renderChart } from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, type User, USERS } from '../support/peers/cluster.ts';
import { defineModuleSource, deleteModuleSource, putModuleSource } from '../support/peers/module-source.ts';
import { PeerRegistry } from '../support/peers/peer-registry.ts';
import { rejection } from '../support/rejection.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { CA } from '../support/tls/certificates.ts';

const MIB = 1024 * 1024;
/** How long the API server is away; two minutes by default, as an operator would have it. */
const OUTAGE_MS = Number(process.env['OUTAGE_SECONDS'] ?? 120) * 1000;

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm', 'docker-registry'], (programs) => {
  describe('the service in a cluster', () => {
    let cluster: Cluster;
    let registry: PeerRegistry;
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
      for (const object of await renderChart(programs.helm)) {
        if (/Role|ServiceAccount/.test(object.kind)) await applyObject(admin, object);
      }
      service = await ServiceProcess.start({
        settings: { store: { directory: 'cache' }, credentials: { source: 'kubernetes' } },
        flags: ['--kubeconfig', await cluster.kubeconfig('service')],
        // Nobody is there: whoever asked this proxy for the API server would wait in vain.
        environment: { HTTPS_PROXY: 'http://127.0.0.1:1', NO_PROXY: '' },
      });
      guarded = got.extend({
        prefixUrl: `https://127.0.0.1:${String(await cluster.guard(service.port))}`,
        https: { certificateAuthority: CA },
        retry: { limit: 0 },
        throwHttpErrors: false,
      });
    });
    after(async () => {
      await service.close();
      await registry.close();
      await cluster.close();
    });

    const as = (user: User): { headers: { authorization: string } } => ({
      headers: { authorization: `Bearer ${USERS[user].token}` },
    });
    const dockerCfg = (password: string): string =>
      Buffer.from(JSON.stringify({ auths: { [registry.host]: { username: USERNAME, password } } })).toString('base64');
    const package_ = (digest: string, repository = registry.repo): string =>
      `package?${new URLSearchParams({ digest, repository }).toString()}`;

    /** Asks for a package until the answer is as expected, which it must be within so many milliseconds. */
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

    it('is ready before its kind is defined, and knows no repository then', async () => {
      expect((await service.client('readyz')).body).to.equal('ok');
      expect((await service.client(package_(image.digest))).statusCode).to.equal(404);
    });

    it('uses a ModuleSource within 5 s, a changed password too', async () => {
      await defineModuleSource(cluster.as('admin'));
      await putModuleSource(cluster.as('admin'), 'a', {
        repo: registry.repo,
        scheme: 'HTTP',
        dockerCfg: dockerCfg('canary-old'),
      });
      await until(package_(image.digest), 5000, { status: 502 });
      await putModuleSource(cluster.as('admin'), 'a', {
        repo: registry.repo,
        scheme: 'HTTP',
        dockerCfg: dockerCfg(PASSWORD),
      });
      await until(package_(image.digest), 5000, { status: 200 });
      expect(registry.accessLog.map(({ status }) => status)).to.include.members([401, 200]);
    });

    it('lets in through the sidecar whoever may, and nobody else', async () => {
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
      ];
      for (const [path, user, status] of table) {
        const response = await guarded(path, user === undefined ? {} : as(user));
        expect(response.statusCode, `${path} as ${String(user)}`).to.equal(status);
      }
      const response = await guarded(query, { ...as('node'), responseType: 'buffer', decompress: false });
      expect(Buffer.compare(response.body, image.layer.bytes)).to.equal(0);
    });

    it('answers HEAD through the sidecar to whoever may fetch', async () => {
      const response = await guarded.head(package_(image.digest), as('node'));
      expect(response.statusCode).to.equal(200);
      expect(response.headers['content-length']).to.equal(String(3 * MIB));
      expect((await guarded.head(package_(image.digest), as('stranger'))).statusCode).to.equal(403);
    });

    it('forgets a deleted ModuleSource within 5 s', async () => {
      await putModuleSource(cluster.as('admin'), 'b', { repo: `${registry.host}/other`, scheme: 'HTTP' });
      const other = package_(makePackage(1, 7).digest, `${registry.host}/other`);
      await until(other, 5000, { status: 502 });
      await deleteModuleSource(cluster.as('admin'), 'b');
      await until(other, 5000, unknownRepository);
    });

    it('speaks in hardened mode with its sidecar and with nobody else', async () => {
      const { cert, key, ca } = cluster.certificates;
      const hardened = await ServiceProcess.start({
        settings: {
          server: { tls: { certificate: cert, key, clientCA: ca } },
          store: { directory: 'cache' },
          credentials: { source: 'kubernetes' },
        },
        flags: ['--kubeconfig', await cluster.kubeconfig('service')],
      });
      try {
        const port = await cluster.guard(hardened.port, true);
        const ask = (url: string, options: object) =>
          got(`${url}/${package_(image.digest)}`, {
            https: { certificateAuthority: CA },
            retry: { limit: 0 },
            ...options,
          });
        expect(await rejection(ask(`http://127.0.0.1:${String(hardened.port)}`, {}))).to.have.property(
          'code',
          'ECONNRESET',
        );
        expect(await rejection(ask(`https://127.0.0.1:${String(hardened.port)}`, {})))
          .to.have.property('code')
          .that.matches(/CERTIFICATE_REQUIRED|ECONNRESET/);
        expect((await ask(`https://127.0.0.1:${String(port)}`, as('node'))).statusCode).to.equal(200);
        const { statusCode } = await got(`https://127.0.0.1:${String(port)}/readyz`, {
          https: { certificateAuthority: CA },
        });
        expect(statusCode).to.equal(200);
      } finally {
        await hardened.close();
      }
    });

    it('goes on while the API server is away, and sees afterwards what was deleted meanwhile', async function () {
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
