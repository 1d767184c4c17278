import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Got } from 'got';
import { parse } from 'yaml';
import { eventually } from '../support/eventually.ts';
import { BASIC, FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { makePackage, type TestImage } from '../support/image.ts';
import { Sandbox } from '../support/pages/sandbox.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, namespaceObject, renderChart, settingsOf } from '../support/peers/chart.ts';
import { Cluster, NAMESPACE } from '../support/peers/cluster.ts';
import { defineModuleSource, putModuleSource } from '../support/peers/module-source.ts';
import { ServiceProcess } from '../support/service-process.ts';

const PORT = 5001;
const SVC = `registry.d8-system.svc:${String(PORT)}`;
const AGENT = `127.0.0.1:${String(PORT)}`;
const PATIENCE_MS = 15_000;
/** Another test beside this one may hold the port of the agent. */
const PORT_PATIENCE_MS = 120_000;
const UPSTREAM_BASIC = `Basic ${Buffer.from('upstream:canary-upstream').toString('base64')}`;

type Account = 'absent' | 'partial' | 'whole';
/** The server from which a package came. */
type Target = 'upstream' | 'agent' | 'store' | 'nowhere';

/** The Secret of an upstream is there in all of them: ConfigMap, account of the store, CA of the agent; target. */
const STATES: readonly (readonly [hasAddress: boolean, account: Account, hasCa: boolean, target: Target])[] = [
  [false, 'absent', false, 'upstream'],
  [false, 'absent', true, 'upstream'],
  [false, 'partial', false, 'upstream'],
  [false, 'partial', true, 'upstream'],
  [false, 'whole', false, 'upstream'],
  [false, 'whole', true, 'upstream'],
  // As recorded: by HTTPS, with no account and no CA of its own.
  [true, 'absent', false, 'nowhere'],
  [true, 'absent', true, 'agent'],
  [true, 'partial', false, 'nowhere'],
  [true, 'partial', true, 'agent'],
  [true, 'whole', false, 'store'],
  [true, 'whole', true, 'agent'],
];

const obstacle = Sandbox.obstacle();

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm'], (programs) => {
  (obstacle === undefined ? describe : describe.skip)('the default registry of a cluster with registry agents', () => {
    let cluster: Cluster;
    let admin: Got;
    let home: string;
    let service: ServiceProcess;
    let upstream: FakeRegistry;
    let agent: FakeRegistry;
    let store: FakeRegistry;
    let storeCa: string;
    let agentCa: string;
    let seed = 90_000;
    const caFile = (): string => join(home, 'ca.crt');

    before(async function () {
      this.timeout(PORT_PATIENCE_MS + 120_000);
      home = await mkdtemp(join(tmpdir(), 'agent-'));
      cluster = await Cluster.start(programs);
      admin = cluster.as('admin');
      upstream = await FakeRegistry.start();
      upstream.script(({ url, headers }, response) => {
        if (headers.authorization === UPSTREAM_BASIC || url.startsWith('/v2/modules/')) return false;
        response.writeHead(401, { 'www-authenticate': 'Basic realm="upstream"' }).end();
        return true;
      });
      const [ofAgent, ofStore] = [
        makeCertificate('agent', 'IP:127.0.0.1'),
        makeCertificate('store', `DNS:${SVC.split(':')[0] ?? ''}`),
      ];
      [agentCa, storeCa] = [ofAgent.cert, ofStore.cert];
      await eventually(async () => {
        agent = await FakeRegistry.start({ tls: ofAgent, at: { address: '127.0.0.1', port: PORT } });
      }, PORT_PATIENCE_MS);
      await eventually(async () => {
        store = await FakeRegistry.start({ tls: ofStore, auth: 'basic', at: { address: '127.0.0.2', port: PORT } });
      }, PORT_PATIENCE_MS);
      for (const name of [NAMESPACE, 'd8-system']) await applyObject(admin, namespaceObject(name));
      await defineModuleSource(admin);
      const chart = await renderChart(programs.helm);
      for (const object of chart) if (/Role|ServiceAccount/.test(object.kind)) await applyObject(admin, object);
      const dockerconfig = { auths: { [upstream.host]: { username: 'upstream', password: 'canary-upstream' } } };
      await putSecret('deckhouse-registry', {
        address: upstream.host,
        path: '/deckhouse/ee',
        scheme: 'http',
        '.dockerconfigjson': JSON.stringify(dockerconfig),
      });
      service = await start(settingsOf(chart));
    });
    after(async () => {
      await service.close();
      for (const registry of [agent, store, upstream]) await registry.close();
      await cluster.close();
      await rm(home, { recursive: true });
    });

    function makeCertificate(name: string, address: string): { cert: string; key: string } {
      const [cert, key] = [join(home, `${name}.crt`), join(home, `${name}.key`)];
      const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
      const names = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${address}`];
      execFileSync('openssl', ['req', '-x509', ...curve, ...names, '-keyout', key, '-out', cert], { stdio: 'pipe' });
      return { cert: execFileSync('cat', [cert]).toString(), key: execFileSync('cat', [key]).toString() };
    }

    /** The service as the chart sets it up, where the Service of the store has an address. */
    async function start(settings: string): Promise<ServiceProcess> {
      const parsed = parse(settings) as { store: object; credentials: { kubernetes: { agent: object } } };
      parsed.credentials.kubernetes.agent = { ...parsed.credentials.kubernetes.agent, ca: caFile() };
      const hosts = join(home, 'hosts');
      await writeFile(hosts, '127.0.0.1 localhost\n127.0.0.2 registry.d8-system.svc\n');
      return ServiceProcess.start({
        settings: { ...parsed, store: { ...parsed.store, directory: 'cache' } },
        flags: ['--kubeconfig', await cluster.kubeconfig('service')],
        // No proxy listens there: the agent is never asked through it.
        environment: { HTTPS_PROXY: 'http://127.0.0.1:1', NO_PROXY: 'registry.d8-system.svc' },
        wrapper: ['unshare', '--mount', 'sh', '-euc', 'mount --bind "$0" /etc/hosts; exec "$@"', hosts],
      });
    }

    async function putSecret(name: string, values: Readonly<Record<string, string>>): Promise<void> {
      const data = Object.fromEntries(
        Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
      );
      await put('v1', 'Secret', name, data);
    }
    async function put(apiVersion: string, kind: string, name: string, data: object): Promise<void> {
      await applyObject(admin, { apiVersion, kind, metadata: { name, namespace: 'd8-system' }, data } as never);
    }
    const setAddress = (base: string): Promise<void> => put('v1', 'ConfigMap', 'registry-image-address', { base });
    const remove = (what: string): Promise<unknown> =>
      admin.delete(`api/v1/namespaces/d8-system/${what}`, { throwHttpErrors: false });

    /** Creates or deletes the three objects and the file. */
    async function arrange(hasAddress: boolean, account: Account, hasCa: boolean): Promise<void> {
      if (hasAddress) await setAddress(`${SVC}/system/deckhouse`);
      else await remove('configmaps/registry-image-address');
      const whole = { 'ca.crt': storeCa, username: USERNAME, password: PASSWORD };
      if (account === 'absent') await remove('secrets/registry-storage-access');
      else await putSecret('registry-storage-access', account === 'whole' ? whole : { ...whole, password: '' });
      if (hasCa) await writeFile(caFile(), agentCa);
      else await rm(caFile(), { force: true });
    }

    function publish(): TestImage {
      const image = makePackage(20_000, seed++);
      for (const registry of [upstream, agent, store]) registry.publish(image);
      return image;
    }
    const requestsOf = ({ log }: FakeRegistry, { digest }: TestImage): typeof log =>
      log.filter(({ url }) => url.includes(digest));

    /** Fetches a new package; resolves with the server from which it came. */
    async function fetched(repository = ''): Promise<Target> {
      const image = publish();
      const query = new URLSearchParams({ digest: image.digest, ...(repository !== '' && { repository }) });
      const { statusCode, body } = await service.client(`package?${query.toString()}`);
      const asked = Object.entries({ upstream, agent, store }).filter(([, one]) => requestsOf(one, image).length > 0);
      expect(asked.length, JSON.stringify(asked.map(([name]) => name))).to.be.at.most(1);
      if (statusCode === 502) expect(asked).to.deep.equal([]);
      else expect(statusCode, body).to.equal(200);
      return (asked[0]?.[0] as Target | undefined) ?? 'nowhere';
    }
    const comesFrom = (target: Target, repository?: string): Promise<void> =>
      eventually(async () => {
        expect(await fetched(repository)).to.equal(target);
      }, PATIENCE_MS);
    async function explained(): Promise<{ host: string; dialled: object | null; credential: { user: string | null } }> {
      const { body } = await service.client(`explain?digest=${publish().digest}`);
      return (JSON.parse(body) as { configuration: { upstream: never } }).configuration.upstream;
    }

    for (const [hasAddress, account, hasCa, target] of STATES) {
      const state = `${hasAddress ? 'a' : 'no'} ConfigMap, ${account} account of the store, ${hasCa ? 'a' : 'no'} CA of the agent`;
      it(`is dialled at ${target}: ${state}`, async () => {
        await arrange(hasAddress, account, hasCa);
        await comesFrom(target);
        const { host, dialled, credential } = await explained();
        expect(host).to.equal(hasAddress ? SVC : upstream.host);
        const servers = { agent: { by: 'agent', host: AGENT }, store: { by: 'store', host: SVC } };
        expect(dialled).to.deep.equal(target === 'agent' || target === 'store' ? servers[target] : null);
        const users = { upstream: 'upstream', store: USERNAME, agent: null, nowhere: null };
        expect(credential.user).to.equal(users[target]);
      });
    }

    it('sends the account of the upstream to no server while the ConfigMap exists, after any failure', async () => {
      await arrange(true, 'whole', true);
      await comesFrom('agent');
      const before = upstream.log.length;
      for (const [account, hasCa] of [
        ['absent', false],
        ['whole', false],
        ['partial', true],
        ['whole', true],
      ] as const) {
        await arrange(true, account, hasCa);
        for (let time = 0; time < 3; time++) await fetched();
      }
      expect(upstream.log).to.have.lengthOf(before);
      expect(agent.log.every(({ headers }) => headers.authorization === undefined)).to.equal(true);
      expect(store.log.map(({ headers }) => headers.authorization ?? BASIC)).to.deep.equal(store.log.map(() => BASIC));
    });

    it('is found only by the names of its current address', async () => {
      await arrange(true, 'absent', true);
      await comesFrom('agent');
      for (const name of [SVC, `${SVC}/system/deckhouse`]) {
        const { body } = await service.client(`explain?digest=${publish().digest}&repository=${name}`);
        expect(body, name).to.include('"configmaps"');
      }
      for (const name of [upstream.host, `${upstream.host}/deckhouse/ee`]) {
        const { body, statusCode } = await service.client(`package?digest=${publish().digest}&repository=${name}`);
        expect([statusCode, body], name).to.deep.equal([404, 'repository is not known to this proxy\n']);
      }
      await remove('configmaps/registry-image-address');
      await comesFrom('upstream', `${upstream.host}/deckhouse/ee`);
      const { statusCode } = await service.client(`package?digest=${publish().digest}&repository=${SVC}`);
      expect(statusCode).to.equal(404);
    });

    it('is dialled in the same way for ModuleSources of this registry only', async () => {
      await arrange(false, 'whole', false);
      await putModuleSource(admin, 'inside', { repo: `${SVC}/modules` });
      await putModuleSource(admin, 'outside', { repo: `${upstream.host}/modules`, scheme: 'HTTP' });
      await comesFrom('store', `${SVC}/modules`);
      await writeFile(caFile(), agentCa);
      await comesFrom('agent', `${SVC}/modules`);
      await comesFrom('upstream', `${upstream.host}/modules`);
    });

    it('is recorded with its address in the log and on the status page, but not in metrics', async () => {
      await arrange(true, 'absent', true);
      await comesFrom('agent');
      const { body: metrics } = await service.client('metrics');
      expect(metrics).not.to.include(AGENT);
      const { body: status } = await service.client('status', { headers: { accept: 'text/html' } });
      expect(status).to.include(SVC).and.not.to.include(AGENT);
      expect(service.output).not.to.include(AGENT);
    });

    it('is that of the Secret if the service may read only the Secret, which it logs once', async () => {
      await arrange(false, 'absent', false);
      await admin.patch('apis/rbac.authorization.k8s.io/v1/namespaces/d8-system/roles/registry-packages-proxy', {
        headers: { 'content-type': 'application/merge-patch+json' },
        body: JSON.stringify({
          rules: [
            {
              apiGroups: [''],
              resources: ['secrets'],
              resourceNames: ['deckhouse-registry'],
              verbs: ['list', 'watch'],
            },
          ],
        }),
      });
      const old = await start(settingsOf(await renderChart(programs.helm)));
      const image = publish();
      await eventually(async () => {
        expect((await old.client(`package?digest=${image.digest}`)).statusCode).to.equal(200);
      }, PATIENCE_MS);
      for (const resource of ['configmaps', 'storagesecrets']) {
        await old.logged('listing is forbidden, counting as empty', { resource });
        expect(await old.client('metrics').text()).to.include(`informer_restarts_total{resource="${resource}"} 0\n`);
      }
      expect(old.output.match(/listing is forbidden/g)).to.have.lengthOf(2);
      expect(old.lines.filter(({ level, msg }) => level === 'warn' && msg !== 'request')).to.deep.equal([]);
      expect((await old.client('readyz')).body).to.equal('ok');
      await old.close();
    });
  });
});
