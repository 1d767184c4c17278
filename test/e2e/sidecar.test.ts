import { expect } from 'chai';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import got from 'got';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makePackage } from '../support/image.ts';
import { describeWithAll } from '../support/peers/binaries.ts';
import { applyObject, containerOf, namespaceObject, renderChart } from '../support/peers/chart.ts';
import { Cluster, NAMESPACE, USERS } from '../support/peers/cluster.ts';
import { runProgram } from '../support/program.ts';
import { QUERY_DIGEST, QUERY_STRINGS } from '../support/query-strings.ts';
import { exchange, type Exchange, RawConnection } from '../support/raw-connection.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { SMUGGLED_ID, SMUGGLING_SHAPES } from '../support/smuggling-shapes.ts';
import { CA } from '../support/tls/certificates.ts';

describeWithAll(['etcd', 'kube-apiserver', 'kube-rbac-proxy', 'helm'], (programs) => {
  describe('a request through the sidecar', () => {
    let cluster: Cluster;
    let service: ServiceProcess;
    let port: number;
    let requests = 0;

    before(async () => {
      cluster = await Cluster.start(programs);
      // The rights with which the sidecar asks for the identity and the permissions of a client.
      const binding = {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRoleBinding',
        metadata: { name: 'sidecar' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:auth-delegator' },
        subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: USERS.service.name }],
      };
      await applyObject(cluster.as('admin'), binding);
      service = await ServiceProcess.start({
        settings: { log: { level: 'debug' }, server: { distribution: { enabled: true } } },
      });
      const { args } = containerOf(await renderChart(programs.helm), 'kube-rbac-proxy');
      ({ port } = await cluster.guard(service.port, args));
    });
    after(async () => {
      await service.close();
      await cluster.close();
    });

    async function send(bytes: string): Promise<Exchange> {
      const socket = connect({ host: '127.0.0.1', port, ca: CA });
      await once(socket, 'secureConnect');
      const connection = new RawConnection(socket);
      const answered = await exchange(connection, bytes);
      await connection.close();
      return answered;
    }

    /** With the administrator's token, or without one. */
    async function get(target: string, isAdmin = true): Promise<{ status: number | undefined; id: string }> {
      const id = `request-${String(++requests)}`;
      const authorization = isAdmin ? [`Authorization: Bearer ${USERS.admin.token}`] : [];
      const lines = [`GET ${target} HTTP/1.1`, 'Host: a', `X-Request-Id: ${id}`, ...authorization];
      const { answers } = await send(`${lines.join('\r\n')}\r\n\r\n`);
      expect(answers).to.have.lengthOf(1);
      return { status: answers[0]?.status, id };
    }

    it('has the token of another instance from a file, and the new token after a change of the file', async function () {
      this.timeout(60_000);
      const home = await mkdtemp(join(tmpdir(), 'tier-'));
      const tokenFile = join(home, 'token');
      await writeFile(tokenFile, 'stranger');
      const registry = await FakeRegistry.start();
      const image = makePackage(500_000);
      registry.publish(image);
      const known = { registries: [{ repo: `${registry.host}/deckhouse/ee`, default: true, scheme: 'HTTP' }] };
      const region = await ServiceProcess.start({
        settings: { server: { distribution: { enabled: true } }, credentials: known },
      });
      const { args } = containerOf(await renderChart(programs.helm), 'kube-rbac-proxy');
      const guarded = await cluster.guard(region.port, args);
      const mirror = { of: '*', endpoint: `https://127.0.0.1:${String(guarded.port)}`, ca: CA, tokenFile };
      const tier = await ServiceProcess.start({
        settings: {
          registry: {
            mirrors: [{ ...mirror, fallback: false }],
            timeouts: { retrySeconds: 0 },
            sources: { patienceMilliseconds: 20_000, minimumRate: 0 },
          },
          credentials: known,
        },
      });
      try {
        const ask = () => tier.client('package', { searchParams: { digest: image.digest }, responseType: 'buffer' });
        expect((await ask()).statusCode).to.equal(502);
        await tier.logged('source is not used, asking elsewhere');
        expect(registry.log).to.deep.equal([]);
        await writeFile(tokenFile, `${USERS.admin.token}\n`);
        await tier.logged('credentials of the source have changed');
        const { statusCode, body } = await ask();
        expect(statusCode).to.equal(200);
        expect(Buffer.compare(body, image.layer.bytes)).to.equal(0);
        // Only the region sends a request, once.
        expect(registry.requests('/blobs/')).to.have.lengthOf(1);
        expect(tier.output).not.to.include(USERS.admin.token);
      } finally {
        await tier.close();
        await region.close();
        await registry.close();
        await rm(home, { recursive: true });
      }
    });

    for (const { why, query, read } of QUERY_STRINGS) {
      it(`is a query with ${why}, and ${read === 'refused' ? 'refused' : 'read as the sidecar reads it'}`, async () => {
        const { status, id } = await get(`/package?${query}`);
        // No registry is known here, so each package is not found.
        expect(status).to.equal(read === 'refused' ? 400 : 404);
        const line = await service.logged('request', { request_id: id, status });
        const { digest, repository, path } = line;
        const expected = { digest: QUERY_DIGEST, repository: '', path: undefined, ...(read !== 'refused' && read) };
        if (read !== 'refused') expect({ digest, repository, path }).to.deep.equal(expected);
      });
    }

    for (const { why, bytes } of SMUGGLING_SHAPES) {
      it(`is ${why}, and no second request`, async () => {
        await send(bytes);
        const { id } = await get('/healthz');
        await service.logged('request', { request_id: id });
        expect(service.lines.map((line) => line['request_id'])).not.to.include(SMUGGLED_ID);
      });
    }

    it('reads whole images by GET and by HEAD with only the permission for /v2/', async () => {
      const operator = [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: USERS.operator.name }];
      const values = ['distribution={"enabled":true}', `clients.distribution=${JSON.stringify(operator)}`];
      const objects = await renderChart(programs.helm, ...values.flatMap((value) => ['--set-json', value]));
      for (const object of objects.filter(({ kind }) => kind.startsWith('ClusterRole'))) {
        await applyObject(cluster.as('admin'), object);
      }
      const statusFor = async (user: 'operator' | 'node', target: string, method: 'GET' | 'HEAD'): Promise<number> => {
        const answer = await got(`https://127.0.0.1:${String(port)}${target}`, {
          method,
          https: { certificateAuthority: CA },
          headers: { authorization: `Bearer ${USERS[user].token}` },
          throwHttpErrors: false,
          retry: { limit: 0 },
        });
        return answer.statusCode;
      };
      const image = `/v2/deckhouse/ee/manifests/${QUERY_DIGEST}`;
      const fetched = `/package?digest=${QUERY_DIGEST}`;
      for (const method of ['GET', 'HEAD'] as const) {
        // No registry is known here, so neither is found.
        const asked = [await statusFor('operator', '/v2/', method), await statusFor('operator', image, method)];
        expect([...asked, await statusFor('operator', fetched, method)], method).to.deep.equal([200, 404, 403]);
        expect([await statusFor('node', image, method), await statusFor('node', fetched, method)]).to.deep.equal([
          403, 404,
        ]);
      }
      expect((await get('/v2/', false)).status).to.equal(401);
    }).timeout(60_000);

    it('is made by prefetch with its token and the CA of the sidecar', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'prefetch-'));
      const [list, token, ca] = ['list', 'token', 'ca'].map((name) => join(directory, name)) as [
        string,
        string,
        string,
      ];
      await writeFile(list, QUERY_DIGEST);
      await writeFile(ca, CA);
      const prefetch = async (text: string): Promise<string> => {
        await writeFile(token, `${text}\n`);
        const url = `https://127.0.0.1:${String(port)}`;
        const flags = ['--url', url, '--token-file', token, '--ca', ca, '--list', list];
        return (await runProgram('prefetch', ...flags)).stderr;
      };
      expect(await prefetch(USERS.admin.token)).to.include(`${QUERY_DIGEST}: 404 no default registry is configured\n`);
      expect(await prefetch('nobody')).to.include(`${QUERY_DIGEST}: 401 Unauthorized\n`);
      await rm(directory, { recursive: true });
    }).timeout(60_000);

    it('is made by explain, which prints the reason of a refusal', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'explain-'));
      const [token, ca] = [join(directory, 'token'), join(directory, 'ca')];
      await writeFile(ca, CA);
      const explain = async (text: string): Promise<{ code: number | null; stdout: string; stderr: string }> => {
        await writeFile(token, `${text}\n`);
        const access = ['--url', `https://127.0.0.1:${String(port)}`, '--token-file', token, '--ca', ca];
        return runProgram('explain', '--digest', QUERY_DIGEST, '--verify', ...access);
      };
      const { code, stdout } = await explain(USERS.admin.token);
      expect(code).to.equal(2);
      expect(stdout).to.include('would fail with 404 NAME_UNKNOWN').and.include('verified    nothing: ');
      expect((await explain('nobody')).stderr).to.include('401: it does not accept the token');
      expect((await explain(USERS.stranger.token)).stderr).to.include(
        '403: the user of the token may not get /explain',
      );
      await rm(directory, { recursive: true });
    }).timeout(60_000);

    it('is answered within 10 s for each of 150 nodes with different tokens', async () => {
      for (const name of [NAMESPACE, 'd8-system']) await applyObject(cluster.as('admin'), namespaceObject(name));
      for (const object of await renderChart(programs.helm)) {
        if (/Role|ServiceAccount/.test(object.kind)) await applyObject(cluster.as('admin'), object);
      }
      const reader = `api/v1/namespaces/${NAMESPACE}/serviceaccounts/registry-packages-proxy-reader/token`;
      const json = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} };
      const tokens = await Promise.all(
        Array.from({ length: 150 }, async () => {
          const { body } = await cluster.as('admin').post<{ status: { token: string } }>(reader, { json });
          return body.status.token;
        }),
      );
      const statuses = await Promise.all(
        tokens.map(async (token) => {
          const response = await got(`https://127.0.0.1:${String(port)}/package?digest=${QUERY_DIGEST}`, {
            headers: { authorization: `Bearer ${token}` },
            https: { certificateAuthority: CA },
            timeout: { response: 10_000 },
            retry: { limit: 0 },
            throwHttpErrors: false,
          });
          return response.statusCode;
        }),
      );
      expect(new Set(statuses)).to.deep.equal(new Set([404]));
    });

    const detours = [
      ...['//healthz', '/./healthz', '/healthz/', '/healthz/../package', '/healthz/%2e%2e/package', '/%68ealthz'],
      ...[
        '/healthz%2f..%2fpackage',
        '/healthz%00',
        '/healthz;/../package',
        '/HEALTHZ',
        '/healthz//package',
        '/x/../healthz',
      ],
      ...['/healthz\\..\\package', '/healthz.', '/healthz%20', '/healthz%2f', '/%2fhealthz', '/healthz/..;/package'],
    ];
    for (const path of detours) {
      it(`is ${path} of an unknown client, and is not answered`, async () => {
        const { status, id } = await get(`${path}?digest=${QUERY_DIGEST}`, false);
        expect(status).to.be.oneOf([301, 307, 400, 401, 403, 404]);
        await service.logged('request', { request_id: (await get('/healthz')).id });
        const line = service.lines.find((other) => other['request_id'] === id);
        // The sidecar's pattern may be more lenient than we are.
        if (line !== undefined) expect(line).to.include({ route: 'other', status: 404 });
      });
    }

    it('is refused with 401 for an unknown token while the API server is away, so a node asks the next master', async () => {
      await cluster.stopApiServer();
      const response = await got(`https://127.0.0.1:${String(port)}/package?digest=${QUERY_DIGEST}`, {
        headers: { authorization: `Bearer ${USERS.scraper.token}` },
        https: { certificateAuthority: CA },
        retry: { limit: 0 },
        throwHttpErrors: false,
      });
      expect(response.statusCode).to.equal(401);
      await cluster.startApiServer();
    });
  });
});
