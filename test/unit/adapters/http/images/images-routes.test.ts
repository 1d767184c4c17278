import { expect } from 'chai';
import got, { type Got } from 'got';
import { Agent } from 'node:http';
import sinon from 'sinon';
import { parseImagesPath } from '../../../../../src/adapters/http/images/images-routes.ts';
import { Admission, ADMISSION_LIMITS } from '../../../../../src/adapters/http/server/admission.ts';
import { RefusedError } from '../../../../../src/adapters/http/server/problem.ts';
import { GetImage } from '../../../../../src/application/get-image.ts';
import { GetPackage } from '../../../../../src/application/get-package.ts';
import { NoPackageStore } from '../../../../../src/adapters/unstored/no-package-store.ts';
import { ResolvePackage } from '../../../../../src/application/resolve-package.ts';
import {
  CredentialsPendingError,
  type PackageError,
  PackageUnknownError,
  UpstreamDeniedError,
  UpstreamThrottledError,
  UpstreamTimeoutError,
  UpstreamUnavailableError,
} from '../../../../../src/domain/errors.ts';
import type { ImageCatalog } from '../../../../../src/domain/ports/registry-gateway.ts';
import { parseRepositoryPath } from '../../../../../src/domain/reference.ts';
import { parseUpstream, type Upstream } from '../../../../../src/domain/upstream.ts';
import { type RunningApp, startHttpApp } from '../../../../support/http-app.ts';
import { bytesOf, encode, makeImage, makeIndex, makePackage } from '../../../../support/image.ts';
import { MemoryPackageStore } from '../../../../support/memory-package-store.ts';
import {
  type StubbedCredentials,
  type StubbedGateway,
  stubCredentials,
  stubGateway,
} from '../../../../support/ports.ts';

const CLI = 'v1/images/deckhouse-cli';
const amd64 = { os: 'linux', architecture: 'amd64' };
const arm64 = { os: 'linux', architecture: 'arm64' };
const EE = parseUpstream({ repo: 'registry.example/deckhouse/ee' });

const unused = { manifest: () => Promise.reject(new Error('not part of this test')) };

describe('imagesFeature', () => {
  const [image, other] = [makePackage(50_000, 1), makePackage(50_000, 2)];
  const index = makeIndex([
    { image, platform: amd64 },
    { image: other, platform: arm64 },
  ]);
  let gateway: StubbedGateway;
  let credentials: StubbedCredentials;
  let catalog: sinon.SinonStubbedInstance<ImageCatalog>;
  let admission: Admission;
  let images: GetImage;
  let app: RunningApp;
  let client: Got;

  beforeEach(async () => {
    gateway = stubGateway(index, image, other);
    credentials = stubCredentials();
    credentials.resolve.resolves(EE);
    catalog = {
      listTags: sinon.stub<Parameters<ImageCatalog['listTags']>>().resolves(['v1.0.0', 'v1.1.0']),
      fetchTagged: sinon.stub<Parameters<ImageCatalog['fetchTagged']>>().resolves(index.index.bytes),
      listReferrers: sinon.stub<Parameters<ImageCatalog['listReferrers']>>().resolves([]),
    };
    const ports = { store: new MemoryPackageStore(), gateway, credentials, stopping: new AbortController().signal };
    const resolve = new ResolvePackage({ ...ports, platform: amd64 });
    const get = new GetPackage({ ...ports, resolve, parallelDownloads: 4 });
    images = new GetImage({ credentials, catalog, gateway, platform: amd64 });
    admission = new Admission({ ...ADMISSION_LIMITS, maxHeldBytes: Infinity });
    app = await startHttpApp({ packages: { get, manifests: resolve }, images, admission });
    client = got.extend({
      prefixUrl: app.url,
      retry: { limit: 0 },
      throwHttpErrors: false,
      followRedirect: false,
      decompress: false,
      headers: { 'accept-encoding': 'gzip' },
    });
  });

  afterEach(() => app.close());

  const placeOf = ({ registry, repository }: Upstream): string => `${registry.host}/${String(repository)}`;
  const tagsAsked = (): string[] => catalog.listTags.args.map(([upstream]) => placeOf(upstream));

  it('answers with all tags, and forbids caches to store the answer', async () => {
    const { statusCode, headers, body } = await client(`${CLI}/tags`);
    expect([statusCode, JSON.parse(body)]).to.deep.equal([200, { name: 'deckhouse-cli', tags: ['v1.0.0', 'v1.1.0'] }]);
    expect(headers).to.include({
      'content-type': 'application/json',
      'content-length': String(body.length),
      'cache-control': 'no-store',
    });
    expect(headers).not.to.have.property('content-encoding');
    expect((await client.head(`${CLI}/tags`)).headers).to.include({ 'content-length': String(body.length) });
  });

  it('leaves tags of signatures out of a list that is too long for a client, and refuses a list of versions that is too long', async () => {
    const signatures = Array.from({ length: 60_000 }, (_, at) => `sha256-${String(at).padStart(64, '0')}.sig`);
    catalog.listTags.resolves(['v1.0.0', ...signatures, 'v1.1.0']);
    expect(JSON.parse((await client(`${CLI}/tags`)).body)).to.have.deep.property('tags', ['v1.0.0', 'v1.1.0']);
    catalog.listTags.resolves(['v1.0.0', ...signatures.slice(0, 100)]);
    expect(JSON.parse((await client(`${CLI}/tags`)).body))
      .to.have.property('tags')
      .with.lengthOf(101);
    catalog.listTags.resolves(signatures.map((_, at) => `v1.0.0-${'a'.repeat(80)}${String(at)}`));
    const { statusCode, body } = await client(`${CLI}/tags`);
    expect([statusCode, body]).to.deep.equal([502, 'failed to list tags\n']);
  });

  it('answers with an empty list for an image without tags', async () => {
    catalog.listTags.resolves([]);
    expect((await client(`${CLI}/tags`)).body).to.equal('{"name":"deckhouse-cli","tags":[]}');
  });

  it('serves plugins, and versions with the name of a path segment', async () => {
    await client(`${CLI}/plugins/stronghold/tags`);
    expect(tagsAsked()).to.deep.equal(['registry.example/deckhouse/ee/deckhouse-cli/plugins/stronghold']);
    for (const version of ['tags', 'images', 'manifests']) {
      expect((await client(`${CLI}/images/${version}`)).statusCode, version).to.equal(200);
      expect((await client(`${CLI}/plugins/a/manifests/${version}`)).statusCode, version).to.equal(200);
    }
    expect((await client(`${CLI}/tags/`)).statusCode).to.equal(200);
  });

  it('sends the package of the platform with all headers', async () => {
    const { statusCode, headers, rawBody } = await client(`${CLI}/images/v1.0.0?platform=linux-arm64`);
    expect(statusCode).to.equal(200);
    expect(Buffer.compare(rawBody, other.layer.bytes)).to.equal(0);
    expect(headers).to.include({
      'content-type': 'application/x-gzip',
      'content-length': '50000',
      'content-disposition': 'attachment; filename="deckhouse-cli-v1.0.0.tar.gz"',
      'cache-control': 'private, no-cache',
      etag: `"${other.digest}"`,
      'docker-content-digest': other.digest,
    });
    expect(headers).not.to.have.property('content-encoding');
    expect(headers).to.have.property('repr-digest');
    expect(app.finished.map(({ route, status }) => [route, status])).to.deep.equal([['/v1/images/images', 200]]);
  });

  it('sends the package of the configured platform if the request has none or an empty one, and allows caches to keep a digest for ever', async () => {
    for (const query of ['', '?platform=', '?other=1']) {
      const { rawBody, headers } = await client(`${CLI}/images/v1.0.0${query}`);
      expect(Buffer.compare(rawBody, image.layer.bytes)).to.equal(0);
      expect(headers['docker-content-digest']).to.equal(image.digest);
    }
    const { rawBody, headers } = await client(`${CLI}/images/${other.digest}`);
    expect(Buffer.compare(rawBody, other.layer.bytes)).to.equal(0);
    expect(headers['cache-control']).to.equal('private, max-age=31536000, immutable');
  });

  it('sends ranges, answers 304 to a client that has the package, and downloads no blob for HEAD', async () => {
    const head = await client.head(`${CLI}/images/v1.0.0`);
    expect([head.statusCode, head.headers['content-length']]).to.deep.equal([200, '50000']);
    const known = await client(`${CLI}/images/v1.0.0`, { headers: { 'if-none-match': `"${image.digest}"` } });
    expect(known.statusCode).to.equal(304);
    expect(gateway.fetchBlob.callCount).to.equal(0);
    const part = await client(`${CLI}/images/v1.0.0`, { headers: { range: 'bytes=10-19' } });
    expect([part.statusCode, part.headers['content-range']]).to.deep.equal([206, 'bytes 10-19/50000']);
    expect(Buffer.compare(part.rawBody, image.layer.bytes.subarray(10, 20))).to.equal(0);
  });

  it('sends the bytes of a manifest as they are, by tag and by digest', async () => {
    const byTag = await client(`${CLI}/manifests/v1.0.0`);
    expect(Buffer.compare(byTag.rawBody, index.index.bytes)).to.equal(0);
    expect(byTag.headers).to.include({
      'content-type': index.index.descriptor.mediaType,
      'content-length': String(index.index.bytes.byteLength),
      'docker-content-digest': index.digest,
      etag: `"${index.digest}"`,
      'cache-control': 'private, no-cache',
      'x-content-type-options': 'nosniff',
    });
    const head = await client.head(`${CLI}/manifests/v1.0.0/?platform=ignored`);
    expect([head.statusCode, head.headers['content-length']]).to.deep.equal([200, byTag.headers['content-length']]);
    const byDigest = await client(`${CLI}/manifests/${image.digest}`);
    expect(Buffer.compare(byDigest.rawBody, image.manifest.bytes)).to.equal(0);
    expect(byDigest.headers['cache-control']).to.equal('private, max-age=31536000, immutable');
  });

  const refused: readonly [path: string, status: number, body: string, method?: 'POST'][] = [
    ['v1/images/', 404, '404 page not found'],
    ['v1/images/other/tags', 404, '404 page not found'],
    ['v1/images/deckhouse-cli', 404, '404 page not found'],
    [`${CLI}/tags/x`, 404, '404 page not found'],
    [`${CLI}/plugins/tags`, 404, '404 page not found'],
    [`${CLI}/plugins/A/tags`, 404, '404 page not found'],
    [`${CLI}/plugins/${'a'.repeat(129)}/tags`, 404, '404 page not found'],
    [`${CLI}/plugins/..%2f..%2fetc/tags`, 404, '404 page not found'],
    [`${CLI}/plugins/a%00/tags`, 404, '404 page not found'],
    [`${CLI}//tags`, 404, '404 page not found'],
    [`${CLI}/plugins/%zz/tags`, 404, '404 page not found'],
    ['v1/images/other/tags', 404, '404 page not found', 'POST'],
    [`${CLI}/tags`, 405, 'method not allowed', 'POST'],
    [`${CLI}/images/-v1?platform=linux`, 405, 'method not allowed', 'POST'],
    [`${CLI}/manifests/v1`, 405, 'method not allowed', 'POST'],
    [`${CLI}/images/-v1?platform=linux`, 404, 'version not found'],
    [`${CLI}/images/-v1`, 404, 'version not found'],
    [`${CLI}/images/sha256:0`, 404, 'version not found'],
    [`${CLI}/manifests/${'v'.repeat(129)}`, 404, 'manifest not found'],
    [`${CLI}/images/v1.0.0?platform=linux`, 400, 'invalid platform'],
    [`${CLI}/images/v1.0.0?platform=linux/amd64`, 400, 'invalid platform'],
    [`${CLI}/images/v1.0.0?platform=a-b&platform=a-b`, 400, 'repeated query parameter "platform"'],
    [`${CLI}/images/v1.0.0?platform=darwin-arm64`, 404, 'version not found'],
    [`${CLI}/tags?a=%zz`, 400, 'query has an invalid escape'],
    [`${CLI}/manifests/v1.0.0?a=1;b=2`, 400, 'query must not contain ";"'],
    [`${CLI}/manifests/-v1?a=%zz`, 404, 'manifest not found'],
    [`${CLI}/images/v1.0.0?platform=linux-amd64;`, 400, 'query must not contain ";"'],
  ];
  for (const [path, status, text, method = 'GET'] of refused) {
    it(`answers ${method} ${path.slice(0, 60)} with ${String(status)} ${text}`, async () => {
      const answer = await client(path, { method });
      expect([answer.statusCode, answer.body]).to.deep.equal([status, `${text}\n`]);
      expect(answer.headers).to.include({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
      if (status === 405) expect(answer.headers.allow).to.equal('GET, HEAD');
      const asked = catalog.listTags.callCount + catalog.fetchTagged.callCount + gateway.fetchManifest.callCount;
      expect(asked > 0).to.equal(path.includes('darwin'));
    });
  }

  const failing: readonly [
    error: PackageError,
    statuses: readonly [tags: string, images: string, manifests: string],
  ][] = [
    [
      new PackageUnknownError('MANIFEST_UNKNOWN'),
      ['404 image not found', '404 version not found', '404 manifest not found'],
    ],
    [
      new UpstreamUnavailableError(),
      ['502 failed to list tags', '502 failed to resolve version', '502 failed to read manifest'],
    ],
    [
      new UpstreamDeniedError(),
      ['502 failed to list tags', '502 failed to resolve version', '502 failed to read manifest'],
    ],
    [
      new UpstreamThrottledError(7),
      ['503 registry is throttling', '503 registry is throttling', '503 registry is throttling'],
    ],
    [
      new UpstreamTimeoutError(),
      [
        '504 registry did not answer in time',
        '504 registry did not answer in time',
        '504 registry did not answer in time',
      ],
    ],
  ];
  for (const [error, statuses] of failing) {
    it(`says of ${error.code} what the command line knows`, async () => {
      catalog.listTags.rejects(error);
      catalog.fetchTagged.rejects(error);
      const answers = await Promise.all(['tags', 'images/v1', 'manifests/v1'].map((path) => client(`${CLI}/${path}`)));
      expect(answers.map(({ statusCode, body }) => `${String(statusCode)} ${body.trimEnd()}`)).to.deep.equal(statuses);
      if (error instanceof UpstreamThrottledError)
        expect(answers.map(({ headers }) => headers['retry-after'])).to.deep.equal(['7', '7', '7']);
    });
  }

  it('answers 503 until credentials are listed, and 404 or 502 for a package that cannot be fetched', async () => {
    credentials.resolve.onFirstCall().rejects(new CredentialsPendingError());
    const early = await client(`${CLI}/tags`);
    expect([early.statusCode, early.body]).to.deep.equal([503, 'registry config unavailable\n']);
    expect(early.headers).to.include({ 'retry-after': '1', 'cache-control': 'no-store' });
    gateway.fetchBlob.rejects(new PackageUnknownError('BLOB_UNKNOWN'));
    const unknown = await client(`${CLI}/images/v1`);
    expect([unknown.statusCode, unknown.body]).to.deep.equal([404, 'package not found\n']);
    gateway.fetchBlob.rejects(new UpstreamUnavailableError());
    const failed = await client(`${CLI}/images/v1`);
    expect([failed.statusCode, failed.body]).to.deep.equal([502, 'failed to fetch package\n']);
  });

  it('answers 404 for an image whose listed manifest is missing, and 502 for an index in an index', async () => {
    gateway.fetchManifest.rejects(new PackageUnknownError('MANIFEST_UNKNOWN'));
    const missing = await client(`${CLI}/images/v1`);
    expect([missing.statusCode, missing.body]).to.deep.equal([404, 'package not found\n']);
    const { digest, mediaType, size } = index.index.descriptor;
    const outer = { schemaVersion: 2, mediaType, manifests: [{ digest, mediaType, size, platform: amd64 }] };
    catalog.fetchTagged.resolves(encode(outer));
    const nested = await client(`${CLI}/images/v1`);
    expect([nested.statusCode, nested.body]).to.deep.equal([502, 'failed to resolve version\n']);
  });

  it('serves an empty layer, and the next request on its connection', async () => {
    const empty = makeImage([new Uint8Array(0)]);
    gateway.fetchManifest.resolves(empty.manifest.bytes);
    gateway.fetchBlob.callsFake(() => Promise.resolve(chunksOf(new Uint8Array(0))));
    catalog.fetchTagged.resolves(empty.manifest.bytes);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (const method of ['GET', 'HEAD', 'GET'] as const) {
      const { statusCode, headers } = await client(`${CLI}/images/v1`, { method, agent: { http: agent } });
      expect([statusCode, headers['content-length']]).to.deep.equal([200, '0']);
    }
    agent.destroy();
  });

  it('answers 502 for a manifest with a wrong digest, or larger than a client reads', async () => {
    gateway.fetchManifest.resolves(other.manifest.bytes);
    for (const [path, text] of [
      [`manifests/${image.digest}`, 'failed to read manifest'],
      [`images/${image.digest}`, 'failed to resolve version'],
      ['images/v1', 'failed to fetch package'],
    ] as const) {
      const { statusCode, body } = await client(`${CLI}/${path}`);
      expect([statusCode, body], path).to.deep.equal([502, `${text}\n`]);
    }
    catalog.fetchTagged.resolves(Buffer.concat([image.manifest.bytes, Buffer.alloc(1 << 20, ' ')]));
    const { statusCode, body } = await client(`${CLI}/manifests/v1`);
    expect([statusCode, body]).to.deep.equal([502, 'failed to read manifest\n']);
  });

  it('looks in other roots if the edition does not have the image, and begins there the next time', async () => {
    catalog.listTags.callsFake(async ({ repository }) => {
      if (String(repository).includes('/ee/')) throw new PackageUnknownError('MANIFEST_UNKNOWN');
      return ['v1'];
    });
    for (let time = 0; time < 2; time++) expect((await client(`${CLI}/tags`)).statusCode).to.equal(200);
    expect(tagsAsked()).to.deep.equal([
      'registry.example/deckhouse/ee/deckhouse-cli',
      'registry.example/deckhouse/deckhouse-cli',
      'registry.example/deckhouse/deckhouse-cli',
    ]);
    const roots = await images.roots();
    expect(
      roots.map(({ host, repository, answer }) => [host, repository, answer?.image, answer?.error?.code]),
    ).to.deep.equal([
      ['registry.example', 'deckhouse', 'deckhouse-cli', undefined],
      ['registry.example', 'deckhouse/ee', 'deckhouse-cli', 'MANIFEST_UNKNOWN'],
    ]);
  });

  it('asks the edition first again after a temporary failure', async () => {
    catalog.listTags.onFirstCall().rejects(new UpstreamUnavailableError());
    expect((await client(`${CLI}/tags`)).statusCode).to.equal(200);
    await client(`${CLI}/tags`);
    expect(tagsAsked().map((place) => place.includes('/ee/'))).to.deep.equal([true, false, true]);
  });

  it('fetches manifest and package from the place that has the tag', async () => {
    catalog.fetchTagged.onFirstCall().rejects(new UpstreamDeniedError());
    expect((await client(`${CLI}/images/v1`)).statusCode).to.equal(200);
    const places = [...gateway.fetchManifest.args, ...gateway.fetchBlob.args].map(([upstream]) => placeOf(upstream));
    expect(new Set(places)).to.deep.equal(new Set(['registry.example/deckhouse/deckhouse-cli']));
  });

  for (const repo of ['registry.example/deckhouse/dev', 'registry.example/ee']) {
    it(`looks in ${repo} only`, async () => {
      credentials.resolve.resolves(parseUpstream({ repo }));
      catalog.listTags.rejects(new PackageUnknownError('MANIFEST_UNKNOWN'));
      expect((await client(`${CLI}/tags`)).statusCode).to.equal(404);
      expect(tagsAsked()).to.deep.equal([`${repo}/deckhouse-cli`]);
    });
  }

  it('answers "not found" only if no place fails in another way', async () => {
    catalog.listTags.onFirstCall().rejects(new PackageUnknownError('MANIFEST_UNKNOWN'));
    catalog.listTags.onSecondCall().rejects(new UpstreamDeniedError());
    expect((await client(`${CLI}/tags`)).statusCode).to.equal(404);
    catalog.listTags.onThirdCall().rejects(new PackageUnknownError('MANIFEST_UNKNOWN'));
    catalog.listTags.onCall(3).rejects(new UpstreamUnavailableError());
    expect((await client(`${CLI}/tags`)).statusCode).to.equal(502);
  });

  for (const method of ['GET', 'HEAD'] as const) {
    it(`answers ${method} after 25 s, also if the registry is slow after it has resolved the version`, async () => {
      const asked = Promise.withResolvers<undefined>();
      gateway.fetchManifest.callsFake(() => {
        asked.resolve(undefined);
        return new Promise(() => undefined);
      });
      const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      try {
        const answer = client(`${CLI}/images/v1`, { method });
        await asked.promise;
        clock.tick(25_000);
        const { statusCode, body } = await answer;
        expect([statusCode, body]).to.deep.equal([504, method === 'HEAD' ? '' : 'registry did not answer in time\n']);
      } finally {
        clock.restore();
      }
    });
  }

  it('sends one request for the tags for many clients at a time', async () => {
    const image = parseRepositoryPath('deckhouse-cli');
    const { signal } = new AbortController();
    await Promise.all(Array.from({ length: 20 }, () => images.tags(image, signal)));
    expect(catalog.listTags.callCount).to.equal(1);
  });

  it('counts its requests as running requests', async () => {
    const begin = sinon.spy(admission, 'begin');
    for (const path of ['tags', 'images/v1', 'manifests/v1']) await client(`${CLI}/${path}`);
    expect(begin.callCount).to.equal(3);
  });

  const late = async (): Promise<void> => {
    const held = Promise.withResolvers<undefined>();
    gateway.fetchBlob.callsFake((_upstream, { size }, _offset, signal) => {
      setImmediate(() => {
        held.resolve(undefined);
      });
      return Promise.resolve(stalled(bytesOf(size, 3).subarray(0, size - 1000), signal));
    });
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const stream = client.stream(`${CLI}/images/v1`);
      stream.once('error', () => undefined);
      await new Promise((resolve) => stream.once('response', resolve));
      await held.promise;
      clock.tick(240_000);
      await new Promise((resolve) => stream.once('data', resolve));
      stream.destroy();
      await app.finishedCount(1);
    } finally {
      clock.restore();
    }
    expect(app.finished.map(({ isUnverified }) => isUnverified)).to.deep.equal([true]);
  };

  it('starts an unverified answer before the time-out of a gateway, and logs this', async () => {
    const slow = makePackage(500_000, 3);
    gateway.fetchManifest.resolves(slow.manifest.bytes);
    catalog.fetchTagged.resolves(slow.manifest.bytes);
    await late();
  });

  it('sends no byte of a forged layer, and closes the connection', async () => {
    gateway.fetchBlob.callsFake(() => Promise.resolve(chunksOf(flipped(image.layer.bytes, 0))));
    expect(await receivedOf(`${CLI}/images/v1`)).to.equal(0);
    await app.finishedCount(1);
    expect(app.finished.map(({ status }) => status)).to.deep.equal([502]);
  });

  describe('without a cache', () => {
    const large = makePackage(5 * 1024 ** 2, 3);
    const blobs = (...bodies: Uint8Array[]): void => {
      for (const [call, body] of bodies.entries()) {
        gateway.fetchBlob.onCall(call).callsFake(() => Promise.resolve(chunksOf(body)));
      }
    };

    beforeEach(async () => {
      await app.close();
      gateway = stubGateway(large);
      catalog.fetchTagged.resolves(large.manifest.bytes);
      const ports = { store: new NoPackageStore(), gateway, credentials, stopping: new AbortController().signal };
      const resolve = new ResolvePackage({ ...ports, platform: amd64 });
      const get = new GetPackage({ ...ports, resolve, parallelDownloads: 4 });
      images = new GetImage({ credentials, catalog, gateway, platform: amd64 });
      app = await startHttpApp({ packages: { get, manifests: resolve }, images, admission });
      client = client.extend({ prefixUrl: app.url });
    });

    it('sends an image, and a range of it, from a second download', async () => {
      const { statusCode, headers, rawBody } = await client(`${CLI}/images/v1`);
      expect([statusCode, headers['cache-status']]).to.deep.equal([
        200,
        'registry-packages-proxy; fwd=bypass; detail=store-off',
      ]);
      expect(Buffer.compare(rawBody, large.layer.bytes)).to.equal(0);
      const part = await client(`${CLI}/images/v1`, { headers: { range: 'bytes=200000-200009' } });
      expect(Buffer.compare(part.rawBody, large.layer.bytes.subarray(200_000, 200_010))).to.equal(0);
    });

    it('ends the verifying download when its client leaves, and starts no second one', async () => {
      const ended = Promise.withResolvers<undefined>();
      gateway.fetchBlob.callsFake((_upstream, _blob, _offset, signal) => {
        signal.addEventListener('abort', () => {
          ended.resolve(undefined);
        });
        return Promise.resolve(stalled(large.layer.bytes.subarray(0, 100_000), signal));
      });
      const stream = client.stream(`${CLI}/images/v1`);
      stream.once('error', () => undefined);
      await new Promise((resolve) => stream.once('response', resolve));
      stream.destroy();
      await ended.promise;
      await app.finishedCount(1);
      expect(app.finished.map(({ status }) => status)).to.deep.equal([499]);
      expect(gateway.fetchBlob.callCount).to.equal(1);
    });

    it('starts an answer before the time-out of a gateway, from its first byte', () => late());

    it('sends no byte of a forged layer', async () => {
      blobs(flipped(large.layer.bytes, large.layer.bytes.length - 1));
      expect(await receivedOf(`${CLI}/images/v1`)).to.equal(0);
    });

    it('sends no forged byte of a registry that is honest only the first time', async () => {
      blobs(large.layer.bytes, flipped(large.layer.bytes, 70_000));
      expect(await receivedOf(`${CLI}/images/v1`)).to.equal(65_536);
      await app.finishedCount(1);
      expect(app.finished.map(({ status }) => status)).to.deep.equal([502]);
    });
  });

  it('sends no forged byte if the store fails after the verification', async () => {
    const { layer, digest } = makePackage(200_000, 4);
    const found = { digest, layer: layer.descriptor };
    const forged = flipped(layer.bytes, 100_000);
    const bodies = [layer.bytes, layer.bytes, forged];
    const execute = sinon.stub().callsFake(async () => {
      const bytes = bodies.shift() ?? forged;
      const isFirst = bodies.length === 2;
      const cache = isFirst
        ? { kind: 'miss', isStored: () => true, source: () => undefined }
        : { kind: 'bypass', reason: 'store-failed' };
      const read = async (offset: number): Promise<Uint8Array> => bytes.subarray(offset, offset + 50_000);
      return { package: found, cache, blob: { size: bytes.byteLength, read, close: async () => undefined } };
    });
    await app.close();
    app = await startHttpApp({
      packages: { get: { execute, head: sinon.stub() }, manifests: unused },
      images,
      admission,
    });
    client = client.extend({ prefixUrl: app.url });
    expect(await receivedOf(`${CLI}/images/v1`)).to.equal(65_536);
    expect(execute.callCount).to.equal(3);
  });

  async function receivedOf(path: string): Promise<number> {
    let received = 0;
    const stream = client.stream(path, { throwHttpErrors: false });
    stream.on('data', (chunk: Buffer) => (received += chunk.byteLength));
    await new Promise((resolve) => stream.once('error', resolve).once('end', resolve));
    return received;
  }
});

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const forged = Uint8Array.from(bytes);
  forged[at] = (forged[at] ?? 0) ^ 1;
  return forged;
}

async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  for (let at = 0; at < bytes.byteLength; at += 50_000) yield bytes.subarray(at, at + 50_000);
}

/** Its bytes, and then nothing until the signal ends it. */
async function* stalled(bytes: Uint8Array, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield bytes;
  await new Promise((_, reject) => {
    signal.addEventListener('abort', () => {
      reject(signal.reason as Error);
    });
  });
}

describe('parseImagesPath', () => {
  it('reads the image, then the requested part of it', () => {
    expect(parseImagesPath('/v1/images/deckhouse-cli/tags')).to.deep.equal({ action: 'tags', image: 'deckhouse-cli' });
    expect(parseImagesPath('/v1/images/deckhouse-cli/plugins/a_b.c-d/images/v1')).to.deep.equal({
      action: 'images',
      image: 'deckhouse-cli/plugins/a_b.c-d',
      reference: 'v1',
    });
    expect(parseImagesPath('/v1/images/deckhouse-cli/manifests/sha256%3Aab')).to.include({ reference: 'sha256:ab' });
  });

  for (const path of [
    'plugins/%2e%2e/tags',
    'plugins/../tags',
    './tags',
    'images/..',
    'images/a%2fb',
    'images/',
    'tags//',
  ]) {
    it(`knows no image at deckhouse-cli/${path}`, () => {
      expect(() => parseImagesPath(`/v1/images/deckhouse-cli/${path}`)).to.throw(RefusedError, '404 page not found');
    });
  }
});
