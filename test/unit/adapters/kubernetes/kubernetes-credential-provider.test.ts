import { expect } from 'chai';
import {
  clusterResources,
  KubernetesCredentialProvider,
  type ProviderEvent,
} from '../../../../src/adapters/kubernetes/kubernetes-credential-provider.ts';
import { userOf } from '../../../../src/domain/credential.ts';
import {
  CredentialsPendingError,
  RepositoryUnknownError,
  UpstreamUnavailableError,
} from '../../../../src/domain/errors.ts';
import { DEFAULT_REPOSITORY, parseRepositoryName } from '../../../../src/domain/reference.ts';
import { dialledHost, type Upstream } from '../../../../src/domain/upstream.ts';
import { eventually } from '../../../support/eventually.ts';
import { FakeKubeApi } from '../../../support/fake-kube-api.ts';
import { NO_AGENT } from '../../../support/registry-agent.ts';
import { rejection } from '../../../support/rejection.ts';
import { CA } from '../../../support/tls/certificates.ts';

const config = (host: string, password: string): string =>
  Buffer.from(JSON.stringify({ auths: { [host]: { username: 'robot', password } } })).toString('base64');

describe('KubernetesCredentialProvider', () => {
  let api: FakeKubeApi;
  let events: ProviderEvent[];
  let provider: KubernetesCredentialProvider;
  beforeEach(async () => {
    api = await FakeKubeApi.start();
    events = [];
    provider = new KubernetesCredentialProvider({
      sources: clusterResources(api.access, { namespace: 'd8-system', name: 'deckhouse-registry' }),
      onEvent: (event) => events.push(event),
      agent: NO_AGENT,
      pace: { firstPauseMs: 20, longestPauseMs: 100, minListIntervalMs: 20 },
    });
  });
  afterEach(async () => {
    await provider.stop();
    await api.close().catch(() => undefined);
  });

  const resolve = (name: string): Promise<Upstream> => provider.resolve(parseRepositoryName(name));
  const unknown = (name: string): Promise<void> =>
    eventually(async () => {
      expect(await rejection(resolve(name))).to.be.instanceOf(RepositoryUnknownError);
    });
  async function password(name: string, expected: string): Promise<void> {
    await eventually(async () => {
      const { credential } = (await resolve(name)).registry;
      expect(credential.kind === 'basic' && credential.password.reveal()).to.equal(expected);
    });
  }
  const known = (name: string): Promise<void> => eventually(() => resolve(name));
  const cannotBeUsed = (name: string, why: string): Promise<void> =>
    eventually(async () => {
      const error = await rejection(resolve(name));
      expect(error).to.be.instanceOf(UpstreamUnavailableError);
      expect([error.message, String(error.cause)]).to.deep.equal([
        'configuration of the registry cannot be used',
        `Error: ${why}`,
      ]);
    });
  /** A count over the time that has passed; gaps between two arrivals would say more of this machine's load. */
  function expectPaced(startedAt: number, minIntervalMs: number): void {
    const lists = api.requests('list modulesources').filter((at) => at > startedAt);
    const last = lists.at(-1) ?? startedAt;
    expect(lists.length).to.be.at.most((last - startedAt) / (minIntervalMs * 0.9) + 1);
  }
  const kinds = (kind: ProviderEvent['kind']): ProviderEvent[] => events.filter((event) => event.kind === kind);
  /** Without the uid, which the fake API makes. */
  const conflicts = (): object[] =>
    kinds('conflict').map((event) => Object.fromEntries(Object.entries(event).filter(([field]) => field !== 'uid')));

  it('follows a ModuleSource that is created, changed and deleted', async () => {
    provider.start();
    await unknown('a.example/m');
    api.putModuleSource('a', { repo: 'a.example/m', dockerCfg: config('a.example', 'one') });
    await password('a.example/m', 'one');
    api.putModuleSource('a', { repo: 'a.example/m', dockerCfg: config('a.example', 'two') });
    await password('a.example/m', 'two');
    api.remove('modulesources', 'a');
    await unknown('a.example/m');
  });

  it('drops the previous name of a ModuleSource', async () => {
    api.putModuleSource('a', { repo: 'a.example/old' });
    provider.start();
    await known('a.example/old');
    api.putModuleSource('a', { repo: 'a.example/new' });
    await known('a.example/new');
    await unknown('a.example/old');
  });

  it('keeps a registry with its connections and tokens when only the status of its object changes', async () => {
    api.putModuleSource('a', { repo: 'a.example/m' });
    provider.start();
    await known('a.example/m');
    const before = await resolve('a.example/m');
    api.putModuleSource('a', { repo: 'a.example/m' });
    api.putModuleSource('b', { repo: 'b.example/m' });
    await known('b.example/m');
    expect(await resolve('a.example/m')).to.equal(before);
  });

  it('resolves the empty name, the repository and the host of the default registry', async () => {
    api.putSecret({
      address: 'registry.example:5000/',
      path: '/deckhouse/ee/',
      scheme: 'http',
      '.dockerconfigjson': '{"auths":{"registry.example:5000":{"username":"robot","password":"p"}}}',
    });
    provider.start();
    await known('registry.example:5000');
    const upstream = await provider.resolve(DEFAULT_REPOSITORY);
    expect(upstream.registry).to.include({ scheme: 'http', host: 'registry.example:5000' });
    expect(upstream.registry.credential.kind).to.equal('basic');
    expect(upstream.repository).to.equal('deckhouse/ee');
    expect(await resolve('registry.example:5000/deckhouse/ee')).to.equal(upstream);
    expect(await resolve('registry.example:5000')).to.equal(upstream);
    api.remove('secrets', 'deckhouse-registry');
    await unknown('registry.example:5000');
    expect((await rejection(provider.resolve(DEFAULT_REPOSITORY))).message).to.equal(
      'no default registry is configured',
    );
  });

  it('uses the older of two objects with one repo, reports this once, and uses the other when the older is deleted', async () => {
    api.putModuleSource(
      'young',
      { repo: 'a.example/m', dockerCfg: config('a.example', 'young') },
      '2026-02-02T00:00:00Z',
    );
    api.putModuleSource('old', { repo: 'a.example/m', dockerCfg: config('a.example', 'old') }, '2026-01-01T00:00:00Z');
    provider.start();
    await password('a.example/m', 'old');
    api.putModuleSource('other', { repo: 'b.example/m' });
    await known('b.example/m');
    expect(conflicts()).to.deep.equal([
      { kind: 'conflict', resource: 'modulesources', object: 'young', winner: 'old', repository: 'a.example/m' },
    ]);
    api.remove('modulesources', 'old');
    await password('a.example/m', 'young');
  });

  const defaultRegistry = {
    address: 'registry.example:5000',
    path: '/deckhouse/ee',
    '.dockerconfigjson': '{"auths":{"registry.example:5000":{"username":"robot","password":"of the default"}}}',
  };
  const claim = (repo: string) => ({ repo, dockerCfg: config('registry.example:5000', 'of the claim') });
  const conflictOver = (repository: string) => ({
    kind: 'conflict',
    resource: 'modulesources',
    object: 'claim',
    winner: 'deckhouse-registry',
    repository,
  });

  for (const repo of ['registry.example:5000/deckhouse/ee', 'registry.example:5000']) {
    it(`gives ${repo} of the default registry to no ModuleSource, and reports this once`, async () => {
      api.putModuleSource('claim', claim(repo), '2020-01-01T00:00:00Z');
      api.putSecret(defaultRegistry);
      provider.start();
      await known('registry.example:5000/deckhouse/ee');
      await password(repo, 'of the default');
      await eventually(async () => {
        await Promise.resolve();
        expect(conflicts()).to.deep.equal([conflictOver(repo)]);
      });
      expect(provider.sources().flatMap(({ rejected }) => rejected)).to.deep.equal([
        { object: 'claim', reason: `${repo} is that of deckhouse-registry already` },
      ]);
      const { registry } = await provider.resolve(DEFAULT_REPOSITORY);
      expect(registry.credential.kind === 'basic' && registry.credential.password.reveal()).to.equal('of the default');
    });
  }

  it('takes a name from a ModuleSource when a default registry has it, and returns it when the default registry changes', async () => {
    const name = 'registry.example:5000/deckhouse/ee';
    api.putModuleSource('claim', claim(name));
    provider.start();
    await password(name, 'of the claim');
    api.putSecret(defaultRegistry);
    await password(name, 'of the default');
    await eventually(async () => {
      await Promise.resolve();
      expect(events.findLast(({ kind, resource }) => kind === 'changed' && resource === 'modulesources')).to.include({
        rejected: 1,
      });
    });
    api.putSecret({ ...defaultRegistry, path: '/deckhouse/fe' });
    await password(name, 'of the claim');
    expect(conflicts()).to.deep.equal([conflictOver(name)]);
    api.putSecret(defaultRegistry);
    await password(name, 'of the default');
    await eventually(async () => {
      await Promise.resolve();
      expect(kinds('conflict')).to.have.lengthOf(2);
    });
  });

  it('accepts a ModuleSource below the repository of the default registry', async () => {
    api.putSecret(defaultRegistry);
    api.putModuleSource('modules', claim('registry.example:5000/deckhouse/ee/modules'));
    provider.start();
    await password('registry.example:5000/deckhouse/ee/modules', 'of the claim');
    await password('registry.example:5000/deckhouse/ee', 'of the default');
    expect(kinds('conflict')).to.deep.equal([]);
  });

  for (const [field, broken] of [
    ['dockerCfg', { dockerCfg: 'canary!' }],
    ['ca', { ca: 'canary' }],
    ['scheme', { scheme: 7 }],
    ['repo', { repo: 'https://a.example' }],
  ] as const) {
    it(`keeps the previous state of a ModuleSource when its ${field} is broken, and does not affect others`, async () => {
      api.putModuleSource('a', { repo: 'a.example/m', dockerCfg: config('a.example', 'one') });
      provider.start();
      await password('a.example/m', 'one');
      api.putModuleSource('a', { repo: 'a.example/m', ...broken });
      api.putModuleSource('b', { repo: 'b.example/m' });
      await known('b.example/m');
      await password('a.example/m', 'one');
      const told = kinds('invalid');
      expect(told).to.have.lengthOf(1);
      expect(told[0]).to.include({ resource: 'modulesources', object: 'a' });
      expect(told[0]).to.have.nested.property('error.field', field);
      expect(JSON.stringify(told)).not.to.include('canary');
    });
  }

  it('shows the source of each registry, rejected objects, and failures of lists', async () => {
    expect(provider.sources().map(({ resource, listedAt }) => [resource, listedAt])).to.deep.equal([
      ['modulesources', undefined],
      ['secrets', undefined],
      ['configmaps', undefined],
      ['storagesecrets', undefined],
      ['packagerepositories', undefined],
    ]);
    api.putModuleSource('a', { repo: 'a.example/m', dockerCfg: config('a.example', 'canary') });
    api.putModuleSource('b', { repo: 'a.example/m' }, '2099-01-01T00:00:00Z');
    api.putModuleSource('c', { repo: 'c.example/m', dockerCfg: 'canary!' });
    provider.start();
    await known('a.example/m');
    expect(provider.registries()).to.deep.equal([
      {
        resource: 'modulesources',
        object: 'a',
        names: ['a.example/m'],
        upstream: {
          scheme: 'https',
          host: 'a.example',
          repository: 'm',
          credential: { kind: 'basic', user: 'robot' },
          certificates: 0,
        },
      },
    ]);
    const [source] = provider.sources();
    expect(source).to.deep.include({
      objects: 3,
      rejected: [
        { object: 'c', reason: 'dockerCfg: not base64' },
        { object: 'b', reason: 'a.example/m is that of a already' },
      ],
      failure: undefined,
    });
    api.watchStatus = 403;
    api.listStatus = 403;
    api.cutWatches();
    await eventually(async () => {
      expect(provider.sources()[0]?.failure?.reason).to.equal('list: Kubernetes API answered 403');
    });
    expect(provider.sources()[0]?.listedAt).to.deep.equal(source?.listedAt);
    expect(JSON.stringify([provider.sources(), provider.registries()])).not.to.include('canary');
  });

  it('shows no failure after a new list that follows a broken watch', async () => {
    provider.start();
    await eventually(async () => {
      expect(api.requests('watch modulesources')).to.have.lengthOf(1);
    });
    api.cutWatches();
    await eventually(async () => {
      expect(kinds('failed')).not.to.deep.equal([]);
    });
    api.putModuleSource('a', { repo: 'a.example/m' });
    await known('a.example/m');
    expect(provider.sources()[0]).to.include({ objects: 1, failure: undefined });
    expect(api.requests('list modulesources')).to.have.lengthOf(2);
  });

  it('lets clients ask again for the repository of a ModuleSource that was never right, and for no other', async () => {
    api.putSecret({ address: 'registry.example' });
    api.putModuleSource('a', { repo: 'a.example/m/', ca: 'nonsense' });
    provider.start();
    await cannotBeUsed('a.example/m', 'modulesources a: ca: has no PEM certificate');
    await unknown('b.example/m');
    await known('');
    api.putModuleSource('a', { repo: 'a.example/m' });
    await known('a.example/m');
  });

  it('lets clients ask again for all while the Secret was never right', async () => {
    api.putSecret({ address: 'registry.example', path: '/a', '.dockerconfigjson': 'canary' });
    provider.start();
    for (const name of ['', 'registry.example/a', 'registry.example']) {
      await cannotBeUsed(name, 'secrets deckhouse-registry: dockerCfg: not base64 of JSON');
    }
  });

  describe('before the first list', () => {
    it('answers with Retry-After, and shows what is missing', async () => {
      api.listStatus = 503;
      provider.start();
      expect(await rejection(resolve('a.example/m'))).to.be.instanceOf(CredentialsPendingError);
      expect(provider.pending).to.deep.equal(['modulesources', 'secrets']);
      await eventually(async () => {
        expect(kinds('failed').length).to.be.greaterThan(2);
      });
      api.listStatus = undefined;
      await unknown('a.example/m');
    });

    it('treats a kind that the API server does not serve as an empty list', async () => {
      api.isWithoutModuleSources = true;
      provider.start();
      await unknown('a.example/m');
      expect(kinds('failed')).to.deep.equal([]);
      api.isWithoutModuleSources = false;
      api.putModuleSource('a', { repo: 'a.example/m' });
      await known('a.example/m');
    });

    it('treats a 404 of a load balancer as a failure if the API server serves the kind', async () => {
      api.listStatus = 404;
      provider.start();
      await eventually(async () => {
        expect(kinds('failed').length).to.be.greaterThan(2);
      });
      expect(provider.pending).to.deep.equal(['modulesources', 'secrets']);
    });
  });

  describe('when the API server fails', () => {
    beforeEach(async () => {
      api.putModuleSource('a', { repo: 'a.example/m' });
      api.putModuleSource('b', { repo: 'b.example/m' });
      provider.start();
      await known('b.example/m');
    });

    it('keeps the known objects while it cannot be reached, and notices deletions when it is back', async () => {
      const { port } = api;
      await api.close();
      await eventually(async () => {
        expect(kinds('failed').length).to.be.greaterThan(1);
      });
      await known('a.example/m');
      api.remove('modulesources', 'a');
      await api.listen(port);
      await unknown('a.example/m');
      await known('b.example/m');
    });

    it('keeps the known objects while the kind is missing for a moment, and reports this', async () => {
      api.isWithoutModuleSources = true;
      api.cutWatches();
      await eventually(async () => {
        expect(provider.sources()[0]?.failure?.reason).to.equal(
          'list: Kubernetes API does not serve /apis/deckhouse.io/v1alpha1/modulesources',
        );
      });
      await known('a.example/m');
      api.isWithoutModuleSources = false;
      api.remove('modulesources', 'a');
      await unknown('a.example/m');
      await known('b.example/m');
    });

    it('forgets the known objects when the kind has been missing for minutes', async () => {
      await provider.stop();
      const absent = new KubernetesCredentialProvider({
        sources: clusterResources(api.access, { namespace: 'd8-system', name: 'deckhouse-registry' }),
        onEvent: (event) => events.push(event),
        agent: NO_AGENT,
        pace: { firstPauseMs: 20, longestPauseMs: 40, minListIntervalMs: 20, absenceMs: 200 },
      });
      absent.start();
      const name = parseRepositoryName('a.example/m');
      await eventually(() => absent.resolve(name));
      api.isWithoutModuleSources = true;
      api.cutWatches();
      await eventually(async () => {
        expect(await rejection(absent.resolve(name))).to.be.instanceOf(RepositoryUnknownError);
      });
      expect(kinds('failed')).not.to.deep.equal([]);
      await absent.stop();
    });

    it('lists again when the resource version decreases, as after a restored backup of etcd', async () => {
      await eventually(async () => {
        expect(api.requests('watch modulesources')).to.have.lengthOf(1);
      });
      const lists = api.requests('list modulesources').length;
      api.setBack();
      await eventually(async () => {
        expect(api.requests('list modulesources').length).to.be.greaterThan(lists);
      });
      await unknown('b.example/m');
      await known('a.example/m');
    });

    it('notices a deletion while the watch was interrupted and its history was lost', async () => {
      api.watchStatus = 500;
      api.cutWatches();
      api.remove('modulesources', 'a');
      api.forget();
      api.watchStatus = undefined;
      await unknown('a.example/m');
    });

    for (const fault of ['close', 'gone', 'garbage'] as const) {
      it(`recovers from watches that end by ${fault}, without frequent lists`, async () => {
        api.watchFault = fault;
        api.cutWatches();
        const started = performance.now();
        await eventually(async () => {
          expect(api.requests('watch modulesources').length).to.be.greaterThan(6);
        });
        expectPaced(started, 20);
        api.watchFault = undefined;
        api.putModuleSource('c', { repo: 'c.example/m' });
        await known('c.example/m');
      });
    }

    for (const status of [401, 403, 410, 429, 500]) {
      it(`recovers from watches with the status ${String(status)}`, async () => {
        api.watchStatus = status;
        api.cutWatches();
        await eventually(async () => {
          expect(api.requests('watch modulesources').length).to.be.greaterThan(3);
        });
        await known('a.example/m');
        api.watchStatus = undefined;
        api.remove('modulesources', 'a');
        await unknown('a.example/m');
      });
    }

    for (const text of [
      '<html>',
      'null',
      '[]',
      '{}',
      '{"kind":"List","items":{},"metadata":{"resourceVersion":"1"}}',
      '{"kind":"List","items":[],"metadata":null}',
      '{"kind":"ModuleSourceList","metadata":{"resourceVersion":"1"}}',
      '{"kind":"ModuleSourceList","items":[7],"metadata":{"resourceVersion":"1"}}',
      '{"kind":"PodList","items":[],"metadata":{"resourceVersion":"1"}}',
      '{"kind":"Status","status":"Failure","code":404,"reason":"NotFound"}',
    ]) {
      it(`keeps the known objects when a list is ${text}`, async () => {
        api.listText = text;
        api.watchStatus = 410;
        api.cutWatches();
        await eventually(async () => {
          expect(kinds('failed').length).to.be.greaterThan(3);
        });
        await known('a.example/m');
        api.listText = undefined;
        api.watchStatus = undefined;
        api.remove('modulesources', 'a');
        await unknown('a.example/m');
      });
    }

    it('takes a list whose items are null for an empty one, as Go does', async () => {
      api.listText = '{"kind":"List","items":null,"metadata":{"resourceVersion":"1"}}';
      api.watchStatus = 410;
      api.cutWatches();
      await unknown('a.example/m');
    });

    it('lists at most once a second, for any behaviour of the server', async function () {
      this.timeout(15_000);
      await provider.stop();
      const sources = clusterResources(api.access, { namespace: 'd8-system', name: 'deckhouse-registry' });
      const patient = new KubernetesCredentialProvider({ sources, onEvent: () => undefined, agent: NO_AGENT });
      api.watchFault = 'gone';
      const started = performance.now();
      patient.start();
      const lists = () => [...api.requests('list modulesources'), ...api.requests('list secrets')];
      while (lists().filter((at) => at > started).length < 6) await new Promise((resolve) => setTimeout(resolve, 50));
      await patient.stop();
      // One list of each of the two kinds at once, and then no more than this.
      const seconds = (Math.max(...lists()) - started) / 1000;
      expect(lists().filter((at) => at > started).length).to.be.at.most(2 + seconds / 0.95);
    });

    it('lists again from time to time, in case a change was missed', async () => {
      await provider.stop();
      const again = new KubernetesCredentialProvider({
        sources: clusterResources(api.access, { namespace: 'd8-system', name: 'deckhouse-registry' }),
        onEvent: () => undefined,
        agent: NO_AGENT,
        pace: { relistIntervalMs: 50, minListIntervalMs: 20 },
      });
      api.watchFault = 'silence';
      again.start();
      await eventually(() => again.resolve(parseRepositoryName('a.example/m')));
      api.remove('modulesources', 'a');
      await eventually(async () => {
        expect(await rejection(again.resolve(parseRepositoryName('a.example/m')))).to.be.instanceOf(
          RepositoryUnknownError,
        );
      });
      await again.stop();
    });
  });

  describe('of a cluster with its own registry', () => {
    const SVC = 'registry.d8-system.svc:5001';
    const secret = {
      address: 'upstream.example',
      path: '/deckhouse/ee',
      '.dockerconfigjson': '{"auths":{"upstream.example":{"username":"upstream","password":"canary-upstream"}}}',
    };
    const account = { 'ca.crt': CA, username: 'store', password: 'canary-store' };
    const setBase = (base: string): void => {
      api.putConfigMap('registry-image-address', { base });
    };
    const setAccount = (values: Readonly<Record<string, string>>): void => {
      api.putSecret(values, 'registry-storage-access');
    };
    /** The server and the account of the default registry. */
    async function target(): Promise<string> {
      const { registry, repository } = await provider.resolve(DEFAULT_REPOSITORY);
      return [userOf(registry.credential) ?? registry.credential.kind, dialledHost(registry), repository].join(' ');
    }
    const targeted = (expected: string): Promise<void> =>
      eventually(async () => {
        expect(await target()).to.equal(expected);
      });

    it('uses the address of the ConfigMap instead of the Secret, and the Secret again when the ConfigMap is deleted', async () => {
      api.putSecret(secret);
      setBase(`/${SVC}/system/deckhouse/`);
      provider.start();
      await targeted(`anonymous ${SVC} system/deckhouse`);
      for (const name of [SVC, `${SVC}/system/deckhouse`]) await known(name);
      await unknown('upstream.example');
      expect(provider.registries().map(({ resource, names }) => [resource, names])).to.deep.equal([
        ['configmaps', ['', `${SVC}/system/deckhouse`, SVC]],
      ]);
      setBase('other.example/a');
      await targeted('anonymous other.example a');
      await unknown(SVC);
      setBase(' / ');
      await targeted('upstream upstream.example deckhouse/ee');
      await unknown('other.example');
      setBase(`${SVC}/b`);
      await targeted(`anonymous ${SVC} b`);
      api.remove('configmaps', 'registry-image-address');
      await targeted('upstream upstream.example deckhouse/ee');
      await unknown(SVC);
    });

    it('does not use the Secret when the ConfigMap cannot be used', async () => {
      api.putSecret(secret);
      setBase('https://not a repository');
      provider.start();
      const unusable = 'configmaps registry-image-address: repo: must be host[:port][/path]';
      for (const name of ['', 'upstream.example', 'a.example/m']) await cannotBeUsed(name, unusable);
      expect(kinds('invalid')).to.have.lengthOf(1);
      setBase(`${SVC}/a`);
      await targeted(`anonymous ${SVC} a`);
      setBase('https://not a repository');
      await eventually(async () => {
        await Promise.resolve();
        expect(kinds('invalid')).to.have.lengthOf(2);
      });
      expect(await target()).to.equal(`anonymous ${SVC} a`);
    });

    it('does not use the Secret before it is known whether there is a ConfigMap', async () => {
      api.putSecret(secret);
      api.putModuleSource('a', { repo: 'a.example/m' });
      api.forbidden.add('configmaps');
      provider.start();
      await known('a.example/m');
      await eventually(async () => {
        await Promise.resolve();
        expect(provider.sources()[1]?.objects).to.equal(1);
      });
      expect(provider.pending).to.deep.equal([]);
      for (const name of ['', 'upstream.example']) {
        expect(await rejection(resolve(name))).to.be.instanceOf(CredentialsPendingError);
      }
      api.forbidden.clear();
      await targeted('upstream upstream.example deckhouse/ee');
    });

    it('is ready with the ConfigMap in each state of the Secret', async () => {
      setBase(`${SVC}/a`);
      api.forbidden.add('deckhouse-registry');
      provider.start();
      await targeted(`anonymous ${SVC} a`);
      expect(provider.pending).to.deep.equal([]);
    });

    it('reports a missing permission once, and sends few requests', async () => {
      await provider.stop();
      provider = new KubernetesCredentialProvider({
        sources: clusterResources(api.access, { namespace: 'd8-system', name: 'deckhouse-registry' }),
        onEvent: (event) => events.push(event),
        agent: NO_AGENT,
        pace: { firstPauseMs: 10, longestPauseMs: 20, minListIntervalMs: 10, forbiddenMs: 50, optionalPauseMs: 30 },
      });
      api.putSecret(secret);
      api.forbidden.add('configmaps').add('registry-storage-access');
      provider.start();
      await targeted('upstream upstream.example deckhouse/ee');
      await eventually(async () => {
        await Promise.resolve();
        expect(api.requests('list configmaps').length).to.be.greaterThan(8);
      });
      expect(kinds('failed')).to.deep.equal([]);
      expect(
        kinds('forbidden')
          .map(({ resource }) => resource)
          .toSorted(),
      ).to.deep.equal(['configmaps', 'storagesecrets']);
      expect(provider.sources().map(({ failure }) => failure)).to.deep.equal(Array(5).fill(undefined));
      // An upgrade of the chart adds the right later.
      setBase(`${SVC}/a`);
      api.forbidden.clear();
      await targeted(`anonymous ${SVC} a`);
      // The removal of the right is a failure, and the known registries stay.
      api.forbidden.add('configmaps');
      api.cutWatches();
      await eventually(async () => {
        await Promise.resolve();
        expect(kinds('failed').some(({ resource }) => resource === 'configmaps')).to.equal(true);
      });
      expect(await target()).to.equal(`anonymous ${SVC} a`);
    });

    it('uses a complete account of the store, each changed password, and no deleted account', async () => {
      setBase(`${SVC}/a`);
      provider.start();
      await targeted(`anonymous ${SVC} a`);
      for (const missing of Object.keys(account)) {
        setAccount({ ...account, [missing]: '' });
        await eventually(async () => {
          await Promise.resolve();
          expect(provider.sources()[3]?.objects).to.equal(1);
        });
        expect(await target()).to.equal(`anonymous ${SVC} a`);
      }
      setAccount(account);
      await targeted(`store ${SVC} a`);
      const before = (await provider.resolve(DEFAULT_REPOSITORY)).registry;
      expect((await provider.resolve(DEFAULT_REPOSITORY)).registry).to.equal(before);
      setAccount({ ...account, password: 'canary-rotated' });
      await eventually(async () => {
        const { credential } = (await provider.resolve(DEFAULT_REPOSITORY)).registry;
        expect(credential.kind === 'basic' && credential.password.reveal()).to.equal('canary-rotated');
      });
      expect((await provider.resolve(DEFAULT_REPOSITORY)).registry).not.to.equal(before);
      api.remove('secrets', 'registry-storage-access');
      await targeted(`anonymous ${SVC} a`);
      expect(JSON.stringify([provider.sources(), provider.registries(), events])).not.to.include('canary');
    });

    it('shows an account that it cannot use, and keeps the previous one', async () => {
      setBase(`${SVC}/a`);
      setAccount(account);
      provider.start();
      await targeted(`store ${SVC} a`);
      setAccount({ ...account, 'ca.crt': 'canary' });
      await eventually(async () => {
        await Promise.resolve();
        expect(provider.sources()[3]?.rejected).to.deep.equal([
          { object: 'registry-storage-access', reason: 'ca: has no PEM certificate' },
        ]);
      });
      expect(await target()).to.equal(`store ${SVC} a`);
    });

    it('waits for the account before it connects to the registry of the cluster, and for no other registry', async () => {
      setBase(`${SVC}/a`);
      api.putModuleSource('b', { repo: 'b.example/m' });
      api.forbidden.add('registry-storage-access');
      provider.start();
      await known('b.example/m');
      await eventually(async () => {
        await Promise.resolve();
        expect(provider.sources()[2]?.objects).to.equal(1);
      });
      expect(await rejection(provider.resolve(DEFAULT_REPOSITORY))).to.be.instanceOf(CredentialsPendingError);
      expect(provider.pending).to.deep.equal([]);
    });

    it('chooses the way also for ModuleSources, and keeps their recorded address', async () => {
      setAccount(account);
      api.putModuleSource('a', { repo: `${SVC}/modules`, dockerCfg: config(SVC, 'canary-of-the-source') });
      provider.start();
      await eventually(async () => {
        const { registry, repository } = await resolve(`${SVC}/modules`);
        expect([userOf(registry.credential), registry.host, repository]).to.deep.equal(['store', SVC, 'modules']);
      });
      expect(provider.registries()[0]?.upstream).to.include({ host: SVC, repository: 'modules' });
      expect(provider.registries()[0]?.upstream).not.to.have.property('dialled');
    });
  });

  it('stops at once, also while the server does not answer', async () => {
    api.watchFault = 'mute';
    provider.start();
    await eventually(async () => {
      expect(api.requests('watch secrets')).to.have.lengthOf(1);
    });
    await provider.stop();
  });

  it('reports nothing after a stop during any request', async () => {
    provider.start();
    await provider.stop();
    const told = events.length;
    api.putModuleSource('a', { repo: 'a.example/m' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(events).to.have.lengthOf(told);
  });

  describe('finds package repositories', () => {
    const find = (name: string): Promise<Upstream> => provider.packageRepositories.resolve(parseRepositoryName(name));
    const isUnknown = (name: string): Promise<void> =>
      eventually(async () => {
        expect(await rejection(find(name))).to.be.instanceOf(RepositoryUnknownError);
      });

    it('by the names of their objects, and follows their creation, change and deletion', async () => {
      expect(await rejection(find('main'))).to.be.instanceOf(CredentialsPendingError);
      provider.start();
      await isUnknown('main');
      api.putPackageRepository('main', { repo: 'a.example/p', dockerCfg: config('a.example', 'one'), ca: CA });
      await eventually(() => find('main'));
      const { registry, repository } = await find('main');
      expect([registry.host, repository, registry.ca.length]).to.deep.equal(['a.example', 'p', 1]);
      expect(registry.credential.kind === 'basic' && registry.credential.password.reveal()).to.equal('one');
      api.putPackageRepository('main', { repo: 'b.example/p', scheme: 'http' });
      await eventually(async () => {
        expect((await find('main')).registry).to.include({ host: 'b.example', scheme: 'http' });
      });
      api.remove('packagerepositories', 'main');
      await isUnknown('main');
    });

    it('with the longest matching credential of a docker config, and anonymously without one', async () => {
      const auths = {
        'https://a.example': { auth: Buffer.from('robot:host').toString('base64') },
        'a.example/team': { username: 'robot', password: 'team' },
        'a.example/team/other': { username: 'robot', password: 'other' },
        'a.example:8443': {},
      };
      const dockerCfg = Buffer.from(JSON.stringify({ auths })).toString('base64');
      api.putPackageRepository('team', { repo: 'a.example/team/p', dockerCfg });
      api.putPackageRepository('root', { repo: 'a.example/p', dockerCfg });
      api.putPackageRepository('port', { repo: 'a.example:8443/p', dockerCfg });
      provider.start();
      await eventually(() => find('port'));
      const secrets = await Promise.all(
        ['team', 'root', 'port'].map(async (name) => {
          const { credential } = (await find(name)).registry;
          return credential.kind === 'basic' ? credential.password.reveal() : credential.kind;
        }),
      );
      expect(secrets).to.deep.equal(['team', 'host', 'anonymous']);
    });

    it('anonymously with a docker config without accounts', async () => {
      const dockerCfg = Buffer.from('{"auths":{}}').toString('base64');
      api.putPackageRepository('main', { repo: 'a.example/p', dockerCfg });
      provider.start();
      await eventually(() => find('main'));
      expect((await find('main')).registry.credential).to.deep.equal({ kind: 'anonymous' });
      expect(kinds('invalid')).to.deep.equal([]);
    });

    for (const [what, field, fields] of [
      ['a docker config that is not base64', 'dockerCfg', { dockerCfg: '%canary' }],
      ['a docker config that is not JSON', 'dockerCfg', { dockerCfg: Buffer.from('canary').toString('base64') }],
      ['a docker config for other registries', 'dockerCfg', { dockerCfg: config('b.example', 'canary') }],
      ['a CA that is none', 'ca', { ca: 'canary' }],
      ['a repo that is none', 'repo', { repo: 'https://canary' }],
    ] as const) {
      it(`not with ${what}, and reports why`, async () => {
        api.putPackageRepository('main', { repo: 'a.example/p', ...fields });
        provider.start();
        await isUnknown('main');
        const [told] = kinds('invalid');
        expect(told).to.include({ resource: 'packagerepositories', object: 'main' });
        expect(told).to.have.nested.property('error.field', field);
        const { rejected } = provider.sources()[4] ?? { rejected: [] };
        expect(rejected.map(({ object, reason }) => [object, reason.startsWith(`${field}: `)])).to.deep.equal([
          ['main', true],
        ]);
        expect(JSON.stringify([told, rejected])).not.to.include('canary');
      });
    }

    it('separately from the registries of packages: neither is found by the name of the other', async () => {
      api.putPackageRepository('a.example', { repo: 'b.example/p' });
      api.putModuleSource('a', { repo: 'a.example/m' });
      provider.start();
      await known('a.example/m');
      await eventually(() => find('a.example'));
      await unknown('a.example');
      await unknown('b.example/p');
      await isUnknown('a.example/m');
      await isUnknown('a');
      expect(provider.registries().map(({ resource }) => resource)).to.deep.equal(['modulesources']);
    });

    it('with the account of the store if they have the address of the registry of the cluster', async () => {
      api.putPackageRepository('inside', { repo: 'registry.d8-system.svc:5001/p' });
      api.putSecret({ 'ca.crt': CA, username: 'store', password: 'canary-store' }, 'registry-storage-access');
      provider.start();
      await eventually(async () => {
        expect((await find('inside')).registry.dialled?.by).to.equal('store');
      });
      expect((await find('inside')).registry).to.equal((await find('inside')).registry);
    });

    for (const [what, deny] of [
      ['their kind is not defined', () => (api.isWithoutPackageRepositories = true)],
      ['the service may not list them', () => api.forbidden.add('packagerepositories')],
    ] as const) {
      it(`as none where ${what}, which costs one list in a while, and no failure`, async () => {
        deny();
        await provider.stop();
        provider = new KubernetesCredentialProvider({
          sources: clusterResources(api.access, { namespace: 'd8-system', name: 'deckhouse-registry' }),
          onEvent: (event) => events.push(event),
          agent: NO_AGENT,
          pace: { firstPauseMs: 5, longestPauseMs: 10, minListIntervalMs: 5, forbiddenMs: 0, optionalPauseMs: 300 },
        });
        provider.start();
        await isUnknown('main');
        const lists = (): number => api.requests('list packagerepositories').length;
        const before = lists();
        api.isWithoutPackageRepositories = false;
        api.forbidden.clear();
        api.putPackageRepository('main', { repo: 'a.example/p' });
        await eventually(() => find('main'));
        expect(lists()).to.equal(before + 1);
        expect(kinds('failed')).to.deep.equal([]);
        expect(provider.pending).not.to.include('packagerepositories');
      });
    }
  });
});
