import { expect } from 'chai';
import {
  clusterResources,
  KubernetesCredentialProvider,
  type ProviderEvent,
} from '../../../../src/adapters/kubernetes/kubernetes-credential-provider.ts';
import { CredentialsPendingError, RepositoryUnknownError } from '../../../../src/domain/errors.ts';
import { DEFAULT_REPOSITORY, parseRepositoryName } from '../../../../src/domain/reference.ts';
import type { Upstream } from '../../../../src/domain/upstream.ts';
import { eventually } from '../../../support/eventually.ts';
import { FakeKubeApi } from '../../../support/fake-kube-api.ts';
import { rejection } from '../../../support/rejection.ts';

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

  it('sees a ModuleSource come, change and go', async () => {
    provider.start();
    await unknown('a.example/m');
    api.putModuleSource('a', { repo: 'a.example/m', dockerCfg: config('a.example', 'one') });
    await password('a.example/m', 'one');
    api.putModuleSource('a', { repo: 'a.example/m', dockerCfg: config('a.example', 'two') });
    await password('a.example/m', 'two');
    api.remove('modulesources', 'a');
    await unknown('a.example/m');
  });

  it('drops the name that a ModuleSource had before', async () => {
    api.putModuleSource('a', { repo: 'a.example/old' });
    provider.start();
    await known('a.example/old');
    api.putModuleSource('a', { repo: 'a.example/new' });
    await known('a.example/new');
    await unknown('a.example/old');
  });

  it('keeps a registry, and so its connections and tokens, when only its status changes', async () => {
    api.putModuleSource('a', { repo: 'a.example/m' });
    provider.start();
    await known('a.example/m');
    const before = await resolve('a.example/m');
    api.putModuleSource('a', { repo: 'a.example/m' });
    api.putModuleSource('b', { repo: 'b.example/m' });
    await known('b.example/m');
    expect(await resolve('a.example/m')).to.equal(before);
  });

  it('knows the default registry by no name, its repository and its host', async () => {
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

  it('takes the older of two with one repo, says so once, and goes on with the other', async () => {
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
    it(`lets no ModuleSource take ${repo} from the default registry, and says so once`, async () => {
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

  it('takes a name back when the default registry comes later, and gives it up when it moves', async () => {
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

  it('leaves a ModuleSource below the repository of the default registry alone', async () => {
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
    it(`keeps what a ModuleSource was when its ${field} breaks, and leaves others alone`, async () => {
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

  it('shows who says what, what it cannot use, and what keeps it from listing', async () => {
    expect(provider.sources().map(({ resource, listedAt }) => [resource, listedAt])).to.deep.equal([
      ['modulesources', undefined],
      ['secrets', undefined],
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

  it('fails no more once it has listed again after a watch that broke', async () => {
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

  it('has no name for a ModuleSource that was never right', async () => {
    api.putModuleSource('a', { repo: 'a.example/m', ca: 'nonsense' });
    provider.start();
    await unknown('a.example/m');
  });

  describe('before the first list', () => {
    it('asks for patience, and says what is missing', async () => {
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

    it('takes a kind that the API server does not serve for an empty list', async () => {
      api.isWithoutModuleSources = true;
      provider.start();
      await unknown('a.example/m');
      expect(kinds('failed')).to.deep.equal([]);
      api.isWithoutModuleSources = false;
      api.putModuleSource('a', { repo: 'a.example/m' });
      await known('a.example/m');
    });

    it('takes a 404 for no answer while the API server serves the kind, as behind a balancer', async () => {
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

    it('knows what it knew while it is away, and what was deleted meanwhile when it is back', async () => {
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

    it('knows what it knew while the kind is away for a moment, and says so', async () => {
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

    it('forgets what it knew once the kind has been away for minutes', async () => {
      await provider.stop();
      const absent = new KubernetesCredentialProvider({
        sources: clusterResources(api.access, { namespace: 'd8-system', name: 'deckhouse-registry' }),
        onEvent: (event) => events.push(event),
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

    it('lists anew when the resource version goes backwards, as after a restored backup of etcd', async () => {
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

    it('sees what was deleted while the watch was cut and its history lost', async () => {
      api.watchStatus = 500;
      api.cutWatches();
      api.remove('modulesources', 'a');
      api.forget();
      api.watchStatus = undefined;
      await unknown('a.example/m');
    });

    for (const fault of ['close', 'gone', 'garbage'] as const) {
      it(`comes back from watches that end by ${fault}, without a storm of lists`, async () => {
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
      it(`comes back from watches that are answered ${String(status)}`, async () => {
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
      '{"kind":"ModuleSourceList","items":[7],"metadata":{"resourceVersion":"1"}}',
      '{"kind":"PodList","items":[],"metadata":{"resourceVersion":"1"}}',
      '{"kind":"Status","status":"Failure","code":404,"reason":"NotFound"}',
    ]) {
      it(`knows what it knew when a list is ${text}`, async () => {
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

    it('lists once a second at most, whatever the server does', async function () {
      this.timeout(15_000);
      await provider.stop();
      const sources = clusterResources(api.access, { namespace: 'd8-system', name: 'deckhouse-registry' });
      const patient = new KubernetesCredentialProvider({ sources, onEvent: () => undefined });
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

    it('draws its picture anew from time to time, in case a change was missed', async () => {
      await provider.stop();
      const again = new KubernetesCredentialProvider({
        sources: clusterResources(api.access, { namespace: 'd8-system', name: 'deckhouse-registry' }),
        onEvent: () => undefined,
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

  it('stops at once, also while the server does not even begin to answer', async () => {
    api.watchFault = 'mute';
    provider.start();
    await eventually(async () => {
      expect(api.requests('watch secrets')).to.have.lengthOf(1);
    });
    await provider.stop();
  });

  it('is silent after it was stopped, whatever was under way', async () => {
    provider.start();
    await provider.stop();
    const told = events.length;
    api.putModuleSource('a', { repo: 'a.example/m' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(events).to.have.lengthOf(told);
  });
});
