import { expect } from 'chai';
import sinon from 'sinon';
import { ObservedRegistryGateway } from '../../../src/adapters/observers/observed-ports.ts';
import { UpstreamHistory } from '../../../src/adapters/observers/upstream-history.ts';
import { StaticCredentialProvider } from '../../../src/adapters/static/static-credential-provider.ts';
import { NoPackageStore } from '../../../src/adapters/unstored/no-package-store.ts';
import { ExplainPackage, type Explanation } from '../../../src/application/explain-package.ts';
import type { ImageRoot } from '../../../src/application/get-image.ts';
import { GetPackage } from '../../../src/application/get-package.ts';
import type { CredentialInspection, CredentialProvider } from '../../../src/domain/ports/credential-provider.ts';
import type { FailedRequests } from '../../../src/domain/ports/request-inspection.ts';
import type { PackageStore, StoreInspection } from '../../../src/domain/ports/package-store.ts';
import { ResolvePackage } from '../../../src/application/resolve-package.ts';
import {
  CredentialsPendingError,
  type ErrorCode,
  InvalidArgumentError,
  UpstreamDeniedError,
  UpstreamThrottledError,
} from '../../../src/domain/errors.ts';
import {
  DEFAULT_REPOSITORY,
  type PackageRequest,
  parseRepositoryName,
  parseRepositoryPath,
} from '../../../src/domain/reference.ts';
import { parseUpstream } from '../../../src/domain/upstream.ts';
import { bytesOf, makeImage, makeIndex, makePackage } from '../../support/image.ts';
import { MemoryPackageStore } from '../../support/memory-package-store.ts';
import { type StubbedGateway, stubGateway } from '../../support/ports.ts';
import { rejection } from '../../support/rejection.ts';
import { HeldSource, readAll, readSome } from '../../support/source.ts';

const REPO = 'registry.example/deckhouse';
const image = makePackage(200_000);
const PLATFORM = { os: 'linux', architecture: 'amd64' };
const request: PackageRequest = { digest: image.digest, repository: DEFAULT_REPOSITORY, path: undefined };
const dockerCfg = Buffer.from('{"auths":{"registry.example":{"username":"robot","password":"canary"}}}').toString(
  'base64',
);

const ROOT: ImageRoot = { host: 'registry.example', repository: undefined, answer: undefined };

describe('ExplainPackage', () => {
  let gateway: StubbedGateway;
  let store: PackageStore & StoreInspection;
  let credentials: CredentialProvider & CredentialInspection;
  let failures: FailedRequests[];
  let get: GetPackage;
  let explain: ExplainPackage;

  beforeEach(() => {
    gateway = stubGateway(image);
    failures = [];
    credentials = new StaticCredentialProvider([
      { name: parseRepositoryName(REPO), isDefault: true, upstream: parseUpstream({ repo: REPO, dockerCfg }) },
    ]);
    over(new MemoryPackageStore());
  });

  function over(given: PackageStore & StoreInspection): void {
    store = given;
    const upstreams = new UpstreamHistory();
    const ports = {
      store,
      gateway: new ObservedRegistryGateway(gateway, [upstreams.observe]),
      credentials,
      parallelDownloads: 64,
      stopping: new AbortController().signal,
    };
    const resolve = new ResolvePackage({ ...ports, platform: PLATFORM });
    get = new GetPackage({ ...ports, resolve });
    const requests = { outcomes: { hit: 0, miss: 0, joined: 0, bypass: 0 }, failures: () => failures };
    const inspection = { store, packages: resolve, downloads: get, credentials, upstreams, requests };
    const images = { roots: () => Promise.resolve([ROOT]) };
    explain = new ExplainPackage({ get, store, images, credentials, inspection });
  }

  /** The same store in a process that has resolved nothing yet. */
  function restart(): void {
    over(store);
  }

  function expectNobodyAsked(): void {
    sinon.assert.notCalled(gateway.fetchManifest);
    sinon.assert.notCalled(gateway.fetchBlob);
  }

  const failure = (code: ErrorCode, lastAt = new Date(), asked = request): FailedRequests => ({
    ...{ request: asked, status: 502, code, detail: 'content does not match its digest', cause: undefined },
    ...{ count: 1, firstAt: lastAt, lastAt },
  });
  const outcomeOf = ({ verdict }: Explanation): string =>
    verdict.outcome === 'fail' ? `fail ${verdict.code}` : verdict.outcome;

  it('shows the registry and the user for an unknown digest without a request to the registry', async () => {
    const asked = { ...request, path: parseRepositoryPath('modules/ingress') };
    const explanation = await explain.execute(asked);
    expect(explanation).to.deep.include({
      request: asked,
      verdict: {
        outcome: 'miss',
        reason: 'the manifest is not cached: the registry will be asked',
        needsRegistry: true,
      },
      layer: undefined,
      cached: { manifest: undefined, layer: undefined },
      download: undefined,
      answers: { manifest: undefined, layer: undefined, latest: undefined },
      failures: [],
    });
    expect(explanation.configuration).to.deep.include({
      registry: {
        resource: 'settings',
        object: undefined,
        names: [REPO, DEFAULT_REPOSITORY],
        upstream: { ...explanation.configuration.upstream, repository: 'deckhouse' },
      },
      upstream: {
        scheme: 'https',
        host: 'registry.example',
        repository: 'deckhouse/modules/ingress',
        credential: { kind: 'basic', user: 'robot' },
        certificates: 0,
      },
      error: undefined,
      known: [],
      imageRoots: [ROOT],
    });
    expectNobodyAsked();
  });

  it('finds cached blobs that this process has not resolved yet, with any repository name', async () => {
    await readAll((await get.execute(request)).blob);
    for (const start of [() => undefined, restart]) {
      start();
      gateway.fetchManifest.resetHistory();
      gateway.fetchBlob.resetHistory();
      const explanation = await explain.execute({ ...request, repository: parseRepositoryName('other.example/x') });
      expect(outcomeOf(explanation)).to.equal('hit');
      expect(explanation.layer).to.deep.equal(image.layer.descriptor);
      expect(explanation.cached.manifest).to.include({ digest: image.digest });
      expect(explanation.cached.layer).to.include({ digest: image.layer.descriptor.digest, size: 200_000 });
      expect(explanation.configuration.error).to.have.property('code', 'NAME_UNKNOWN');
      expectNobodyAsked();
    }
  });

  it('does not count as a use of the package', async () => {
    await readAll((await get.execute(request)).blob);
    const before = store.info(image.layer.descriptor.digest)?.usedAt;
    expect((await explain.execute(request)).cached.layer?.usedAt).to.equal(before);
  });

  it('opens no blob that is too large for a manifest, and a manifest only once', async () => {
    const large = makePackage(4 * 1024 ** 2 + 1);
    const { digest } = large.layer.descriptor;
    gateway = stubGateway(large);
    over(new MemoryPackageStore());
    await readAll((await get.execute({ ...request, digest: large.digest })).blob);
    restart();
    const open = sinon.spy(store, 'open');
    const explanation = await explain.execute({ ...request, digest });
    expect(explanation.cached).to.include({ manifest: undefined, isOther: true });
    expect(outcomeOf(explanation)).to.equal('miss');
    sinon.assert.notCalled(open);
    for (const times of [1, 2]) {
      expect(outcomeOf(await explain.execute({ ...request, digest: large.digest })), String(times)).to.equal('hit');
    }
    sinon.assert.calledOnceWithExactly(open, { digest: large.digest, isUse: false });
  });

  it('reports that a blob will be verified after an unclean stop', async () => {
    await readAll((await get.execute(request)).blob);
    const { info } = store;
    store.info = (digest) => {
      const cached = info.call(store, digest);
      return cached && { ...cached, verifiedAt: undefined };
    };
    expect((await explain.execute(request)).verdict).to.deep.include({
      outcome: 'hit',
      reason: 'the package is cached, and is verified before its first use',
    });
  });

  it('shows the progress of a download', async () => {
    const held = new HeldSource().give(image.layer.bytes.subarray(0, 120_000));
    gateway.fetchBlob.callsFake(() => held.source());
    const { blob } = await get.execute(request);
    await readSome(blob, 50_000);
    const explanation = await explain.execute(request);
    expect(explanation.download).to.deep.include({ request, layer: image.layer.descriptor, bytes: 120_000 });
    expect(explanation.download?.startedAt.getTime()).to.be.closeTo(Date.now(), 60_000);
    expect(outcomeOf(explanation)).to.equal('joined');
    held.give(image.layer.bytes.subarray(120_000)).end();
    await readAll(blob);
    expect(await explain.execute(request)).to.include({ download: undefined });
  });

  it('shows the layer of an index only if its manifest is cached, too', async () => {
    const index = makeIndex([{ image, platform: PLATFORM }]);
    gateway = stubGateway(index);
    over(new MemoryPackageStore());
    const asked = { ...request, digest: index.digest };
    gateway.fetchManifest.onSecondCall().rejects(new UpstreamDeniedError());
    await rejection(get.execute(asked));
    restart();
    const half = await explain.execute(asked);
    expect(half).to.include({ layer: undefined });
    expect(half.cached.manifest?.digest).to.equal(index.digest);
    await readAll((await get.execute(asked)).blob);
    restart();
    expect((await explain.execute(asked)).layer).to.deep.equal(image.layer.descriptor);
  });

  it('shows how the registry refuses the manifest of a cached index', async () => {
    const index = makeIndex([{ image, platform: PLATFORM }]);
    const asked = { ...request, digest: index.digest };
    gateway = stubGateway(index);
    over(new MemoryPackageStore());
    gateway.fetchManifest.withArgs(sinon.match.any, image.digest).onFirstCall().rejects(new UpstreamDeniedError());
    await rejection(get.execute(asked));
    const { verdict, answers } = await explain.execute(asked);
    expect(answers.manifest).to.include({ digest: image.digest, code: 'UPSTREAM_DENIED' });
    expect(verdict).to.deep.include({ outcome: 'fail', code: 'UPSTREAM_DENIED', seenAt: answers.manifest?.at });
    await readAll((await get.execute(asked)).blob);
    expect(outcomeOf(await explain.execute(asked))).to.equal('hit');
  });

  it('shows how the registry refuses the manifest of an index without a cache, until requests succeed', async () => {
    const index = makeIndex([{ image, platform: PLATFORM }]);
    const asked = { ...request, digest: index.digest };
    gateway = stubGateway(index);
    over(new NoPackageStore());
    gateway.fetchManifest.withArgs(sinon.match.any, image.digest).rejects(new UpstreamDeniedError());
    await rejection(get.execute(asked));
    failures = [failure('UPSTREAM_DENIED', new Date(), asked)];
    const { verdict, answers } = await explain.execute(asked);
    expect(answers.manifest).to.include({ digest: image.digest, code: 'UPSTREAM_DENIED' });
    expect(verdict).to.deep.include({ outcome: 'fail', code: 'UPSTREAM_DENIED', seenAt: answers.manifest?.at });
    failures = [failure('UPSTREAM_DENIED', new Date(0), asked)];
    expect(outcomeOf(await explain.execute(asked))).to.equal('bypass');
    failures = [failure('UPSTREAM_DENIED', new Date(), { ...asked, path: parseRepositoryPath('elsewhere') })];
    expect(outcomeOf(await explain.execute(asked))).to.equal('bypass');
  });

  it('reports that an image without a layer is not a package, without an answer of a registry', async () => {
    const empty = makeImage([]);
    gateway = stubGateway(empty);
    over(new MemoryPackageStore());
    const asked = { ...request, digest: empty.digest };
    await rejection(get.execute(asked));
    const { verdict } = await explain.execute(asked);
    expect(verdict).to.include({ outcome: 'fail', code: 'MANIFEST_INVALID', seenAt: undefined });
  });

  it('lists the repositories if none matches', async () => {
    const explanation = await explain.execute({ ...request, repository: parseRepositoryName('registry.example/ee') });
    expect(explanation.verdict).to.deep.include({
      outcome: 'fail',
      code: 'NAME_UNKNOWN',
      reason: 'repository is not known to this proxy',
      seenAt: undefined,
    });
    expect(explanation.configuration).to.include({ registry: undefined, upstream: undefined });
    expect(explanation.configuration.known.flatMap(({ names }) => names)).to.deep.equal([REPO, DEFAULT_REPOSITORY]);
  });

  it('reports that credentials are pending', async () => {
    sinon.stub(credentials, 'resolve').rejects(new CredentialsPendingError());
    expect(outcomeOf(await explain.execute(request))).to.equal('fail CREDENTIALS_PENDING');
  });

  it('assumes the last answer of the registry, until there is another one', async () => {
    const cause = new Error('manifest from registry.example: status 401');
    gateway.fetchManifest.onFirstCall().rejects(new UpstreamDeniedError({ cause }));
    await rejection(get.execute(request));
    const explanation = await explain.execute(request);
    expect(explanation.verdict).to.deep.equal({
      outcome: 'fail',
      code: 'UPSTREAM_DENIED',
      reason: 'registry refused the configured credentials',
      cause: cause.message,
      seenAt: explanation.answers.manifest?.at,
      retryAt: undefined,
    });
    expect(explanation.answers.latest).to.equal(explanation.answers.manifest);
    const elsewhere = await explain.execute({ ...request, path: parseRepositoryPath('elsewhere') });
    expect(outcomeOf(elsewhere)).to.equal('miss');
    expect(elsewhere.answers).to.include({ manifest: undefined, latest: explanation.answers.manifest });
    await readAll((await get.execute(request)).blob);
    const healed = await explain.execute(request);
    expect(outcomeOf(healed)).to.equal('hit');
    expect([healed.answers.manifest?.code, healed.answers.layer?.code]).to.deep.equal(['OK', 'OK']);
  });

  it('ignores the answer to another credential', async () => {
    gateway.fetchManifest.onFirstCall().rejects(new UpstreamDeniedError());
    await rejection(get.execute(request));
    expect(outcomeOf(await explain.execute(request))).to.equal('fail UPSTREAM_DENIED');
    failures = [failure('UPSTREAM_DENIED')];
    sinon.stub(credentials, 'resolve').resolves(parseUpstream({ repo: REPO, dockerCfg }));
    const mended = await explain.execute(request);
    expect(outcomeOf(mended)).to.equal('miss');
    expect(mended.answers.manifest).to.equal(undefined);
    expect(mended.answers.latest).to.include({ code: 'UPSTREAM_DENIED' });
  });

  it('shows wrong content of this repository from earlier requests, until it is corrected', async () => {
    failures = [failure('DIGEST_MISMATCH')];
    expect(outcomeOf(await explain.execute(request))).to.equal('fail DIGEST_MISMATCH');
    const elsewhere = { ...request, path: parseRepositoryPath('elsewhere') };
    expect(outcomeOf(await explain.execute(elsewhere))).to.equal('miss');
    failures = [failure('UPSTREAM_DENIED')];
    expect(outcomeOf(await explain.execute(request))).to.equal('miss');
    over(new NoPackageStore());
    failures = [failure('DIGEST_MISMATCH', new Date(0))];
    await readAll((await get.execute(request)).blob);
    expect(outcomeOf(await explain.execute(request))).to.equal('bypass');
    expect((await explain.execute(request)).failures).to.deep.equal(failures);
  });

  it('shows a refusal that the gateway knows without asking a registry, and until when it asks none', async () => {
    gateway.knownRefusal.returns(new UpstreamThrottledError(30));
    const { verdict } = await explain.execute(request);
    expect(verdict).to.deep.include({ outcome: 'fail', code: 'TOOMANYREQUESTS', reason: 'registry is throttling' });
    const { retryAt } = verdict as { readonly retryAt?: Date };
    expect(retryAt?.getTime()).to.be.closeTo(Date.now() + 30_000, 20_000);
    gateway.knownRefusal.returns(new InvalidArgumentError('NAME_INVALID', '"path" is needed'));
    expect(outcomeOf(await explain.execute(request))).to.equal('fail NAME_INVALID');
  });

  it('asks the gateway for the first digest that a request would fetch', async () => {
    const index = makeIndex([{ image, platform: PLATFORM }]);
    gateway = stubGateway(index);
    over(new MemoryPackageStore());
    const asked = { ...request, digest: index.digest };
    const question = async (): Promise<unknown[]> => {
      await explain.execute(asked);
      return gateway.knownRefusal.lastCall.args.slice(1);
    };
    expect(await question()).to.deep.equal(['manifest', index.digest]);
    gateway.fetchManifest.withArgs(sinon.match.any, image.digest).onFirstCall().rejects(new UpstreamDeniedError());
    await rejection(get.execute(asked));
    expect(await question()).to.deep.equal(['manifest', image.digest]);
    gateway.fetchBlob.onFirstCall().rejects(new UpstreamDeniedError());
    await rejection(get.execute(asked));
    expect(await question()).to.deep.equal(['blob', image.layer.descriptor.digest]);
  });

  it('shows only the failures of this digest', async () => {
    const other = failure('UPSTREAM_DENIED', new Date(), { ...request, digest: makePackage(1, 2).digest });
    failures = [other, failure('UPSTREAM_TIMEOUT'), { ...other, request: undefined }];
    expect((await explain.execute(request)).failures).to.deep.equal([failures[1]]);
  });

  for (const [what, given] of [
    ['the cache is off (store.enabled)', (): NoPackageStore => new NoPackageStore()],
    ['the package is larger than the cache (store.maxSize)', (): MemoryPackageStore => new MemoryPackageStore(150_000)],
  ] as const) {
    it(`reports that the store will be bypassed if ${what}`, async () => {
      over(given());
      await readAll((await get.execute(request)).blob);
      expect((await explain.execute(request)).verdict).to.deep.equal({
        outcome: 'bypass',
        reason: `${what}: the registry will be asked`,
        needsRegistry: true,
      });
    });
  }

  it('reports a missing package if only its manifest is cached', async () => {
    gateway.fetchBlob.rejects(new UpstreamDeniedError());
    await rejection(get.execute(request));
    restart();
    const { verdict, layer } = await explain.execute(request);
    expect(layer).to.deep.equal({ ...image.layer.descriptor, size: bytesOf(200_000).byteLength });
    expect(verdict).to.deep.include({ reason: 'the package is not cached: the registry will be asked' });
  });
});
