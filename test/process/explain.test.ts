import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommandLine } from '../../src/adapters/cli/command-line.ts';
import { COMMANDS } from '../../src/infrastructure/commands/table.ts';
import { eventually } from '../support/eventually.ts';
import { FakeKubeApi } from '../support/fake-kube-api.ts';
import { FakeRegistry, PASSWORD, USERNAME } from '../support/fake-registry.ts';
import { FakeTerminal } from '../support/fake-terminal.ts';
import { makePackage } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';
import { type ServiceOptions, ServiceProcess } from '../support/service-process.ts';

/** The fields that these tests read. */
interface Explanation {
  readonly verdict: {
    readonly outcome: string;
    readonly status: number;
    readonly code?: string;
    readonly cause?: string;
    readonly retry_at?: string | null;
  };
  readonly configuration: {
    readonly registry: { readonly resource: string; readonly object: string | null } | null;
    readonly upstream: { readonly credential: object } | null;
    readonly sources: readonly { readonly listed_at: string | null; readonly rejected: readonly object[] }[];
    readonly known_repositories: readonly string[];
  };
  readonly kept: Readonly<
    Record<'manifest' | 'layer', { readonly size: number; readonly verified_at: string | null } | null>
  >;
  readonly fill: { readonly bytes: number; readonly size: number } | null;
  readonly failures: readonly { readonly code: string; readonly count: number }[];
}

describe('GET /explain of the service', () => {
  let registry: FakeRegistry;
  let service: ServiceProcess;
  beforeEach(async () => {
    registry = await FakeRegistry.start({ auth: 'bearer' });
  });
  afterEach(async () => {
    await service.close();
    await registry.close();
  });

  const image = makePackage(500_000);

  async function start({ password = PASSWORD, headersSeconds = 15, maxSize = 1024 ** 3 } = {}): Promise<void> {
    const repo = `${registry.host}/deckhouse/ee`;
    service = await ServiceProcess.start({
      settings: {
        registry: { timeouts: { headersSeconds, retrySeconds: 0 } },
        store: { directory: 'cache', maxSize },
        credentials: { registries: [{ repo, default: true, scheme: 'HTTP', username: USERNAME, password }] },
      },
    });
  }

  // The client of ServiceProcess looks for secrets in each.
  const explain = (digest = image.digest, more = '') =>
    service.client(`explain?digest=${digest}${more}`).json<Explanation>();
  const fetch = (digest = image.digest) => service.client(`package?digest=${digest}`);

  it('shows the progress of a download, and the cached blobs after it', async () => {
    registry.publish(image);
    const rest = Promise.withResolvers<undefined>();
    registry.script(({ url, headers }, response) => {
      if (!url.includes('/blobs/') || headers.authorization === undefined) return false;
      response.writeHead(200, { 'content-length': 500_000 });
      response.write(image.layer.bytes.subarray(0, 300_000));
      void rest.promise.then(() => response.end(image.layer.bytes.subarray(300_000)));
      return true;
    });
    await start();
    const fetched = fetch();
    await eventually(async () => {
      const { verdict, fill } = await explain();
      expect(verdict.outcome).to.equal('joined');
      expect(fill).to.include({ bytes: 300_000, size: 500_000 });
    });
    rest.resolve(undefined);
    expect((await fetched).statusCode).to.equal(200);
    const { length } = registry.log;
    const { verdict, kept, fill, configuration } = await explain();
    expect(verdict).to.include({ outcome: 'hit', status: 200 });
    expect([kept.layer?.size, fill]).to.deep.equal([500_000, null]);
    expect(new Date(kept.layer?.verified_at ?? NaN).getTime()).to.be.closeTo(Date.now(), 60_000);
    expect(configuration.registry).to.include({ resource: 'settings' });
    expect(configuration.upstream?.credential).to.deep.equal({ kind: 'basic', user: USERNAME });
    expect(registry.log).to.have.lengthOf(length);
  });

  for (const [what, isSilent, status, code, cause] of [
    ['404 for the manifest', false, 404, 'MANIFEST_UNKNOWN', 'status 404 MANIFEST_UNKNOWN'],
    ['nothing', true, 504, 'UPSTREAM_TIMEOUT', 'ETIMEDOUT'],
  ] as const) {
    it(`shows the status that a client gets after the registry answered ${what}`, async () => {
      if (isSilent) registry.script(() => true);
      await start({ headersSeconds: isSilent ? 0.3 : 15 });
      expect((await explain()).verdict).to.include({ outcome: 'miss', status: 200 });
      for (let times = 0; times < 2; times++) expect((await fetch()).statusCode).to.equal(status);
      const { verdict, failures } = await explain();
      expect(verdict).to.include({ outcome: 'fail', status, code, cause: `manifest from ${registry.host}: ${cause}` });
      expect(failures.map((failure) => [failure.code, failure.count])).to.deep.equal([[code, 2]]);
    });
  }

  it('shows a bypass for a package that fits into the cache by its bytes, but not by its blocks', async () => {
    const small = makePackage(9000);
    registry.publish(small);
    await start({ maxSize: 10_000 });
    expect((await service.client.head(`package?digest=${small.digest}`)).statusCode).to.equal(200);
    expect((await explain(small.digest)).verdict).to.include({ outcome: 'bypass', status: 200 });
    expect((await fetch(small.digest)).headers['cache-status']).to.include('fwd=bypass; detail=store-too-small');
    await service.logged('request', { cache: 'bypass', bypass: 'store-too-small' });
  });

  it('shows that a registry is not requested before its Retry-After has passed', async () => {
    registry.publish(image);
    registry.script((_request, response) => {
      response.writeHead(429, { 'retry-after': '30' }).end();
      return true;
    });
    await start();
    expect((await fetch(makePackage(1, 7).digest)).statusCode).to.equal(503);
    const { length } = registry.log;
    const { verdict } = await explain();
    expect(verdict).to.include({ outcome: 'fail', status: 503, code: 'TOOMANYREQUESTS' });
    expect(new Date(verdict.retry_at ?? NaN).getTime()).to.be.within(Date.now(), Date.now() + 30_000);
    const { statusCode, headers } = await fetch();
    expect(statusCode).to.equal(503);
    expect(Number(headers['retry-after'])).to.be.within(1, 30);
    expect(registry.log).to.have.lengthOf(length);
  });

  it('is printed by the command line as text and as JSON', async () => {
    await start();
    expect((await fetch()).statusCode).to.equal(404);
    const told = async (...flags: string[]): Promise<string> => {
      const terminal = new FakeTerminal();
      const args = ['explain', '--digest', image.digest, '--url', `http://127.0.0.1:${String(service.port)}`, ...flags];
      expect(await runCommandLine(args, terminal, COMMANDS)).to.equal(2);
      return terminal.stdout.text;
    };
    expect(await told()).to.match(
      /^verdict +would fail with 404 MANIFEST_UNKNOWN: package not found\n +manifest from 127\S+ status 404 MANIFEST_UNKNOWN\n/,
    );
    expect(JSON.parse(await told('--json'))).to.deep.equal(await explain());
  });

  it('shows that the registry refuses the password, without the password', async () => {
    registry.publish(image);
    await start({ password: 'canary-wrong' });
    expect((await fetch()).statusCode).to.equal(502);
    const { verdict, configuration } = await explain();
    expect(verdict).to.include({ outcome: 'fail', status: 502, code: 'UPSTREAM_DENIED' });
    expect(configuration.upstream?.credential).to.deep.equal({ kind: 'basic', user: USERNAME });
  });

  it('lists the known repositories for an unknown one', async () => {
    await start();
    const { verdict, configuration } = await explain(image.digest, '&repository=registry.example/elsewhere');
    expect(verdict).to.include({ outcome: 'fail', status: 404, code: 'NAME_UNKNOWN' });
    expect(configuration.known_repositories).to.deep.equal([`${registry.host}/deckhouse/ee`, '']);
    expect(registry.log).to.deep.equal([]);
  });

  it('shows wrong bytes of a registry that no client has received', async () => {
    registry.publish(image);
    registry.script(({ url, headers }, response) => {
      if (!url.includes('/blobs/') || headers.authorization === undefined) return false;
      response.end(makePackage(500_000, 2).layer.bytes);
      return true;
    });
    await start();
    await rejection(fetch());
    await eventually(async () => {
      expect((await explain()).verdict).to.include({ outcome: 'fail', status: 502, code: 'DIGEST_MISMATCH' });
    });
  });

  describe('in a cluster', () => {
    let api: FakeKubeApi;
    let home: string;
    beforeEach(async () => {
      api = await FakeKubeApi.start();
      home = await mkdtemp(join(tmpdir(), 'explain-'));
      await writeFile(join(home, 'kubeconfig'), api.config.exportConfig());
    });
    afterEach(async () => {
      await api.close();
      await rm(home, { recursive: true });
    });

    it('shows that credentials are pending, and later the object of each registry and the unusable object', async () => {
      const options: ServiceOptions = {
        settings: { credentials: { source: 'kubernetes' } },
        flags: ['--kubeconfig', join(home, 'kubeconfig')],
      };
      const auths = { [registry.host]: { username: USERNAME, password: PASSWORD } };
      const dockerCfg = Buffer.from(JSON.stringify({ auths })).toString('base64');
      api.putModuleSource('good', { repo: `${registry.host}/a`, scheme: 'HTTP', dockerCfg });
      api.putModuleSource('bad', { repo: 'registry.example/b', dockerCfg: 'canary!' });
      api.listStatus = 503;
      service = await ServiceProcess.start(options);
      const ask = () => explain(image.digest, `&repository=${registry.host}/a`);
      const pending = await ask();
      expect(pending.verdict).to.include({ outcome: 'fail', status: 503, code: 'CREDENTIALS_PENDING' });
      expect(pending.configuration.sources.map(({ listed_at: listedAt }) => listedAt)).to.deep.equal(
        Array(5).fill(null),
      );
      api.listStatus = undefined;
      await eventually(async () => {
        const { verdict, configuration } = await ask();
        expect(verdict.outcome).to.equal('miss');
        expect(configuration.registry).to.include({ resource: 'modulesources', object: 'good' });
        expect(configuration.sources[0]?.rejected).to.deep.equal([{ object: 'bad', reason: 'dockerCfg: not base64' }]);
      });
    });
  });
});
