import { expect } from 'chai';
import got, { type Got, type Response } from 'got';
import sinon from 'sinon';
import { gzipSync } from 'node:zlib';
import { TarLayerFiles } from '../../../../../src/adapters/archive/tar-layer-files.ts';
import { iconRouteOf, parseIconPath } from '../../../../../src/adapters/http/icons/icon-route.ts';
import { Admission, ADMISSION_LIMITS } from '../../../../../src/adapters/http/server/admission.ts';
import { RefusedError } from '../../../../../src/adapters/http/server/problem.ts';
import { GetIcon } from '../../../../../src/application/get-icon.ts';
import {
  CredentialsPendingError,
  type PackageError,
  PackageUnknownError,
  RepositoryUnknownError,
  UpstreamDeniedError,
  UpstreamThrottledError,
  UpstreamTimeoutError,
  UpstreamUnavailableError,
} from '../../../../../src/domain/errors.ts';
import type { ImageCatalog } from '../../../../../src/domain/ports/registry-gateway.ts';
import { parseRepositoryName, parseRepositoryPath, type Tag } from '../../../../../src/domain/reference.ts';
import { parseUpstream, type Upstream } from '../../../../../src/domain/upstream.ts';
import { archiveOf } from '../../../../support/archive.ts';
import { eventually } from '../../../../support/eventually.ts';
import { type RunningApp, startHttpApp } from '../../../../support/http-app.ts';
import { bytesOf, makeImage, makeIndex, type TestImage, type TestIndex } from '../../../../support/image.ts';
import {
  type StubbedCredentials,
  type StubbedGateway,
  stubCredentials,
  stubGateway,
} from '../../../../support/ports.ts';
import { chunksOf } from '../../../../support/source.ts';

const ICON = 'v1/packages/main/console/metadata/icon';
const amd64 = { os: 'linux', architecture: 'amd64' };
const arm64 = { os: 'linux', architecture: 'arm64' };
const SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>';
const ROOT = parseUpstream({ repo: 'registry.example/packages' });
const VERSIONS = 'registry.example/packages/console/version';
const PACKAGE = 'registry.example/packages/console';
const unknown = new PackageUnknownError('MANIFEST_UNKNOWN');
const denied = new UpstreamDeniedError();

const imageOf = (...files: (readonly [path: string, content: string | Uint8Array])[]): TestImage =>
  makeImage([
    gzipSync(archiveOf({ path: 'version.json', content: '{}' })),
    gzipSync(archiveOf(...files.map(([path, content]) => ({ path, content })))),
  ]);

describe('iconFeature', () => {
  const image = imageOf(['docs/icon.svg', SVG]);
  let gateway: StubbedGateway;
  let repositories: StubbedCredentials;
  let catalog: sinon.SinonStubbedInstance<ImageCatalog>;
  let stopping: AbortController;
  let icons: GetIcon;
  let app: RunningApp;
  let client: Got;

  async function start(...images: readonly (TestImage | TestIndex)[]): Promise<void> {
    gateway = stubGateway(...images);
    const [first] = images;
    catalog.fetchTagged.resolves(
      first === undefined ? new Uint8Array(0) : 'index' in first ? first.index.bytes : first.manifest.bytes,
    );
    const options = {
      repositories,
      catalog,
      gateway,
      files: new TarLayerFiles(),
      platform: amd64,
      stopping: stopping.signal,
    };
    icons = new GetIcon(options);
    app = await startHttpApp({ icons });
    client = got.extend({ prefixUrl: app.url, retry: { limit: 0 }, throwHttpErrors: false, followRedirect: false });
  }

  beforeEach(() => {
    stopping = new AbortController();
    repositories = stubCredentials();
    repositories.resolve.resolves(ROOT);
    catalog = {
      listTags: sinon
        .stub<Parameters<ImageCatalog['listTags']>>()
        .resolves(['v1.0.0', 'v1.2.0', 'latest', 'v1.2.0-rc.1']),
      fetchTagged: sinon.stub<Parameters<ImageCatalog['fetchTagged']>>(),
      listReferrers: sinon.stub<Parameters<ImageCatalog['listReferrers']>>().resolves([]),
    };
  });
  afterEach(() => app.close());

  const placeOf = ({ registry, repository }: Upstream): string => `${registry.host}/${String(repository)}`;
  const listed = (): string[] => catalog.listTags.args.map(([upstream]) => placeOf(upstream));
  const tagged = (): string[] => catalog.fetchTagged.args.map(([upstream, tag]) => `${placeOf(upstream)}:${tag}`);

  describe('sends an icon', () => {
    it('of the latest version, with headers that allow revalidation and prevent scripts', async () => {
      await start(image);
      const { statusCode, headers, body } = await client(ICON);
      expect([statusCode, body]).to.deep.equal([200, SVG]);
      expect(headers).to.include({
        'content-type': 'image/svg+xml',
        'content-length': String(SVG.length),
        'content-disposition': 'attachment; filename="console.svg"',
        etag: `"${image.digest}"`,
        'docker-content-digest': image.digest,
        'cache-control': 'public, max-age=300',
        'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        'x-content-type-options': 'nosniff',
      });
      expect(headers).to.have.property('x-request-id');
      expect(tagged()).to.deep.equal([`${VERSIONS}:v1.2.0`]);
      expect(repositories.resolve.args).to.deep.equal([['main']]);
      expect(app.finished.map(({ route, status, bytes }) => [route, status, bytes])).to.deep.equal([
        ['/v1/packages/icon', 200, SVG.length],
      ]);
    });

    it('of a given version, cacheable for ever', async () => {
      await start(image);
      for (const version of ['v1.0.0', '1.0', 'v2-rc.1']) {
        const { statusCode, headers } = await client(`${ICON}/${version}`);
        expect([statusCode, headers['cache-control']]).to.deep.equal([200, 'public, max-age=31536000, immutable']);
      }
      expect(tagged()).to.deep.equal(['v1.0.0', '1.0', 'v2-rc.1'].map((version) => `${VERSIONS}:${version}`));
      expect(catalog.listTags.callCount).to.equal(0);
    });

    for (const [file, type, extension] of [
      ['icon.png', 'image/png', 'png'],
      ['icon.jpg', 'image/jpeg', 'jpg'],
      ['icon.jpeg', 'image/jpeg', 'jpeg'],
    ] as const) {
      it(`named docs/${file} as ${type}`, async () => {
        const content = bytesOf(3000, 4);
        await start(imageOf([`docs/${file}`, content]));
        const { statusCode, headers, rawBody } = await client(ICON);
        expect(statusCode).to.equal(200);
        expect(Buffer.compare(rawBody, content)).to.equal(0);
        expect(headers).to.include({
          'content-type': type,
          'content-length': '3000',
          'content-disposition': `attachment; filename="console.${extension}"`,
          'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        });
      });
    }

    it('with the same headers for HEAD, and with 304 to a client that has it', async () => {
      await start(image);
      const [got, head] = [await client(ICON), await client.head(ICON)];
      for (const each of [got, head]) {
        delete each.headers['x-request-id'];
        delete each.headers.date;
      }
      expect([head.statusCode, head.headers, head.body]).to.deep.equal([200, got.headers, '']);
      const known = await client(ICON, { headers: { 'if-none-match': `"${image.digest}"` } });
      expect([known.statusCode, known.body]).to.deep.equal([304, '']);
      expect(known.headers).to.include({ etag: `"${image.digest}"`, 'cache-control': 'public, max-age=300' });
      expect(known.headers).not.to.have.any.keys('content-type', 'content-disposition');
    });

    it('from the image of the platform', async () => {
      const other = imageOf(['docs/icon.svg', '<svg>other</svg>']);
      await start(
        makeIndex([
          { image: other, platform: arm64 },
          { image, platform: amd64 },
        ]),
        image,
        other,
      );
      const { body, headers } = await client(ICON);
      expect([body, headers['docker-content-digest']]).to.deep.equal([SVG, image.digest]);
    });

    it('from the repository of the package itself if there is no repository of versions', async () => {
      for (const reason of [unknown, denied]) {
        catalog.listTags.resetHistory();
        catalog.fetchTagged.resetHistory();
        await start(image);
        catalog.listTags.onFirstCall().rejects(reason);
        expect((await client(ICON)).statusCode).to.equal(200);
        expect(listed()).to.deep.equal([VERSIONS, PACKAGE]);
        expect(tagged()).to.deep.equal([`${PACKAGE}:v1.2.0`]);
        catalog.fetchTagged.onSecondCall().rejects(reason);
        expect((await client(`${ICON}/v1.0.0`)).statusCode).to.equal(200);
        expect(tagged().slice(1)).to.deep.equal([`${VERSIONS}:v1.0.0`, `${PACKAGE}:v1.0.0`]);
        if (reason === unknown) await app.close();
      }
    });

    it('from the repository of the package if the repository of versions has no icon', async () => {
      for (const tags of [[], ['latest']]) {
        await start(image);
        catalog.listTags.resetHistory();
        catalog.listTags.onFirstCall().resolves(tags);
        expect((await client(ICON)).statusCode).to.equal(200);
        expect(listed()).to.deep.equal([VERSIONS, PACKAGE]);
        if (tags.length === 0) await app.close();
      }
    });

    it('to equal requests with one request to the registry, and later from memory', async () => {
      await start(image);
      const request = {
        repository: parseRepositoryName('main'),
        package: parseRepositoryPath('console'),
        version: undefined,
      };
      const found = await Promise.all(Array.from({ length: 20 }, () => icons.execute(request)));
      expect(new Set(found).size).to.equal(1);
      expect([catalog.listTags.callCount, catalog.fetchTagged.callCount]).to.deep.equal([1, 1]);
      const fetched = gateway.fetchBlob.callCount;
      expect((await client(`${ICON}/v1.2.0`)).body).to.equal(SVG);
      expect(gateway.fetchBlob.callCount).to.equal(fetched);
    });

    it('to the same request within a minute without a request to the registry, unless the registry has changed', async () => {
      // Before the icons that remember its time: it begins at 0, and that of a long run of tests is far ahead.
      const clock = sinon.useFakeTimers({ toFake: ['performance'] });
      try {
        await start(image);
        const asked = async (): Promise<number> => {
          catalog.listTags.resetHistory();
          expect((await client(ICON)).statusCode).to.equal(200);
          return catalog.listTags.callCount;
        };
        expect([await asked(), await asked()]).to.deep.equal([1, 0]);
        repositories.resolve.resolves(parseUpstream({ repo: 'registry.example/packages' }));
        expect([await asked(), await asked()]).to.deep.equal([1, 0]);
        clock.tick(60_000);
        expect(await asked()).to.equal(1);
      } finally {
        clock.restore();
      }
    });

    it('of 500 images at a time, requested by clients without a token', async () => {
      // On a slow machine, the limit has room again before all 500 requests have ended.
      const clock = sinon.useFakeTimers({ toFake: ['performance'] });
      try {
        await start(image);
        const versions = Array.from({ length: 500 }, (_, at) => `v1.0.${String(at)}` as Tag);
        const repository = parseRepositoryName('main');
        const name = parseRepositoryPath('console');
        await Promise.all(versions.map((version) => icons.execute({ repository, package: name, version })));
        const refused = await client(`${ICON}/v2.0.0`);
        expect([refused.statusCode, refused.body]).to.deep.equal([503, 'too many icons are looked for\n']);
        expect(refused.headers).to.include({ 'retry-after': '1' });
        expect(catalog.fetchTagged.callCount).to.equal(500);
        expect((await client(`${ICON}/v1.0.7`)).statusCode).to.equal(200);
      } finally {
        clock.restore();
      }
    });

    it('to 512 requests at a time, so that clients without a token leave places to packages', async () => {
      await start(image);
      const admission = new Admission({ ...ADMISSION_LIMITS, maxHeldBytes: Infinity });
      await app.close();
      app = await startHttpApp({ icons, admission });
      const held = Promise.withResolvers<string[]>();
      catalog.listTags.returns(held.promise);
      const ask = (index: number) =>
        client(`${app.url}/${ICON}`, { prefixUrl: '', headers: { 'X-Forwarded-For': `fd00::${index.toString(16)}` } });
      const asked = Array.from({ length: 512 }, (_, index) => ask(index));
      await eventually(async () => {
        await Promise.resolve();
        expect(admission.usage.running).to.equal(512);
      });
      const { statusCode, body } = await ask(600);
      expect([statusCode, body]).to.deep.equal([503, 'too many icons are fetched at a time\n']);
      held.resolve(['v1.0.0']);
      expect((await Promise.all(asked)).map(({ statusCode }) => statusCode)).to.deep.equal(asked.map(() => 200));
      expect((await ask(600)).statusCode).to.equal(200);
    });

    it('with any unknown parameters', async () => {
      await start(image);
      expect((await client(`${ICON}?a=1&a=2`)).statusCode).to.equal(200);
    });
  });

  describe('refuses', () => {
    const refused: readonly [path: string, status: number, body: string, method?: 'POST' | 'PUT'][] = [
      ['v1/packages/', 400, 'bad request'],
      ['v1/packages/main/console', 400, 'bad request'],
      ['v1/packages/main/console/metadata/readme', 400, 'bad request'],
      [`${ICON}/latest`, 400, 'bad request'],
      [`${ICON}/v1.0.0/x`, 400, 'bad request'],
      ['v1/packages/main/a%2Fb/metadata/icon', 400, 'bad request'],
      ['v1/packages/main/../metadata/icon', 400, 'bad request'],
      [ICON, 405, 'method not allowed', 'POST'],
      // The method comes first.
      ['v1/packages/main', 405, 'method not allowed', 'PUT'],
      [`${ICON}?a=%`, 400, 'query has an invalid escape'],
      [`${ICON}?a=1;b=2`, 400, 'query must not contain ";"'],
      ['v1/packages', 404, 'page not found'],
      ['v1/packagesx/main/console/metadata/icon', 404, 'page not found'],
    ];
    for (const [path, status, body, method = 'GET'] of refused) {
      it(`${method} /${path}: ${String(status)}, ${body}`, async () => {
        await start(image);
        const answer = await client(path, { method, allowGetBody: false });
        expect([answer.statusCode, answer.body]).to.deep.equal([status, `${body}\n`]);
        expect(answer.headers).to.include({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
        expect(answer.headers.allow).to.equal(status === 405 ? 'GET, HEAD' : undefined);
        expect(answer.headers).not.to.have.any.keys('content-disposition', 'etag', 'docker-content-digest');
        expect(repositories.resolve.callCount).to.equal(0);
      });
    }
  });

  describe('tells the failure of', () => {
    const throttled = new UpstreamThrottledError(7);
    const unavailable = new UpstreamUnavailableError();
    const late = new UpstreamTimeoutError();
    type Failing = 'repository' | 'listing' | 'tag';
    const failures: readonly [what: Failing, error: PackageError, status: number, body: string, version?: string][] = [
      ['repository', new RepositoryUnknownError(), 404, 'package repository not found'],
      ['repository', new CredentialsPendingError(), 503, 'registry config unavailable'],
      ['listing', unknown, 404, 'package not found'],
      ['listing', denied, 502, 'failed to list tags'],
      ['listing', unavailable, 502, 'failed to list tags'],
      ['listing', throttled, 503, 'registry is throttling'],
      ['listing', late, 504, 'registry did not answer in time'],
      ['tag', unknown, 404, 'tag not found', 'v1.0.0'],
      ['tag', unknown, 404, 'tag not found'],
      ['tag', denied, 502, 'failed to resolve tag', 'v1.0.0'],
      ['tag', unavailable, 502, 'failed to resolve tag', 'v1.0.0'],
      ['tag', throttled, 503, 'registry is throttling', 'v1.0.0'],
      ['tag', late, 504, 'registry did not answer in time', 'v1.0.0'],
    ];
    for (const [what, error, status, body, version] of failures) {
      it(`${what} by ${error.code}${version === undefined ? '' : `, of ${version}`}: ${String(status)}, ${body}`, async () => {
        await start(image);
        const stub = { repository: repositories.resolve, listing: catalog.listTags, tag: catalog.fetchTagged }[what];
        stub.rejects(error);
        await expectFailure(version === undefined ? ICON : `${ICON}/${version}`, status, body);
        const [last] = app.finished.slice(-1);
        expect(last?.route).to.equal('/v1/packages/icon');
      });
    }

    for (const [tags, body] of [
      [[], 'no tags found'],
      [['latest', 'sha256-ab.sig'], 'no valid tags found'],
    ] as const) {
      it(`a package with the tags "${tags.join()}": ${body}`, async () => {
        await start(image);
        catalog.listTags.resolves(tags);
        await expectFailure(ICON, 404, body);
        // The repository of the package is unknown, so only the tags of the versions decide.
        catalog.listTags.callsFake(async (place) => {
          if (placeOf(place) === VERSIONS) return tags;
          throw unknown;
        });
        await expectFailure(ICON, 404, body);
      });
    }

    it('the place with the clearer result if the other one is denied', async () => {
      await start(image);
      catalog.fetchTagged.callsFake((place) => Promise.reject(placeOf(place) === VERSIONS ? denied : unknown));
      await expectFailure(`${ICON}/v1.0.0`, 404, 'tag not found');
    });

    it('only the first place if its failure is temporary', async () => {
      await start(image);
      catalog.listTags.callsFake(async (place) => {
        if (placeOf(place) === VERSIONS) throw unavailable;
        return ['v1.0.0'];
      });
      await expectFailure(ICON, 502, 'failed to list tags');
      expect(new Set(listed())).to.deep.equal(new Set([VERSIONS]));
    });

    it('an index without an image for the platform, or an image with missing blobs', async () => {
      await start(makeIndex([{ image, platform: arm64 }]));
      await expectFailure(ICON, 404, 'package not found');
      await app.close();
      await start(makeIndex([{ image, platform: amd64 }]));
      gateway.fetchManifest.rejects(unknown);
      await expectFailure(ICON, 404, 'package not found');
      await app.close();
      await start(image);
      gateway.fetchBlob.rejects(new PackageUnknownError('BLOB_UNKNOWN'));
      await expectFailure(ICON, 404, 'package not found');
    });

    it('an image that cannot be fetched or is invalid', async () => {
      await start(image);
      gateway.fetchBlob.rejects(new UpstreamDeniedError());
      await expectFailure(ICON, 502, 'failed to fetch package');
      gateway.fetchBlob.rejects(throttled);
      await expectFailure(ICON, 503, 'registry is throttling');
      catalog.fetchTagged.resolves(Buffer.from('<html>'));
      await expectFailure(ICON, 502, 'failed to fetch package');
      catalog.fetchTagged.resolves(Buffer.alloc((1 << 20) + 1, ' '));
      await expectFailure(ICON, 502, 'failed to fetch package');
    });

    it('a forged layer or manifest, of which no byte is sent', async () => {
      await start(image);
      gateway.fetchBlob.callsFake(async () =>
        chunksOf(gzipSync(archiveOf({ path: 'docs/icon.svg', content: '<forged/>' })), 100),
      );
      await expectFailure(ICON, 502, 'failed to fetch package');
      // The failure is cached for a minute.
      const asked = gateway.fetchBlob.callCount;
      await expectFailure(`${ICON}/v1.0.0`, 502, 'failed to fetch package');
      expect(gateway.fetchBlob.callCount).to.equal(asked);
      await app.close();
      await start(makeIndex([{ image, platform: amd64 }]));
      gateway.fetchManifest.callsFake(async () => imageOf(['docs/icon.svg', '<forged/>']).manifest.bytes);
      await expectFailure(ICON, 502, 'failed to fetch package');
    });

    const iconless: Readonly<Record<string, () => TestImage>> = {
      'has none': () => imageOf(['readme.md', 'x']),
      'is no archive': () => makeImage([Buffer.from('{"a":1}')]),
      'has a broken gzip': () =>
        makeImage([gzipSync(archiveOf({ path: 'docs/icon.svg', content: SVG })).subarray(0, 60)]),
      'has one of more than 4 MiB': () => imageOf(['docs/icon.svg', Buffer.alloc((4 << 20) + 1)]),
      'has a link in its place': () =>
        makeImage([gzipSync(archiveOf({ path: 'docs/icon.svg', kind: 'symlink', target: '/etc/shadow' }))]),
      'hides it': () => {
        const [lower, upper] = [{ path: 'docs/icon.svg', content: SVG }, { path: 'docs/.wh.icon.svg' }];
        return makeImage([gzipSync(archiveOf(lower)), gzipSync(archiveOf(upper))]);
      },
      'has no layers': () => makeImage([]),
    };
    for (const [what, make] of Object.entries(iconless)) {
      it(`an image that ${what}: 404, icon not found`, async () => {
        await start(make());
        await expectFailure(ICON, 404, 'icon not found');
        const asked = gateway.fetchBlob.callCount;
        await expectFailure(`${ICON}/v1.0.0`, 404, 'icon not found');
        expect(gateway.fetchBlob.callCount).to.equal(asked);
      });
    }

    it('a registry that does not answer, after 25 s', async () => {
      await start(image);
      const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      try {
        const asked = new Promise<void>((resolve) => {
          gateway.fetchBlob.callsFake((_upstream, _blob, _offset, signal) => {
            resolve();
            return new Promise((_, reject) => {
              signal.addEventListener('abort', () => {
                reject(signal.reason as Error);
              });
            });
          });
        });
        const failing = got(`${app.url}/${ICON}`, { throwHttpErrors: false, retry: { limit: 0 } });
        await asked;
        clock.tick(25_000);
        const { statusCode, body } = await failing;
        expect([statusCode, body]).to.deep.equal([504, 'registry did not answer in time\n']);
      } finally {
        clock.restore();
      }
    });

    it('a third image after a wait of 5 s while two images are read', async () => {
      const images = [1, 2, 3].map((version) => imageOf(['docs/icon.svg', `<svg id="${String(version)}"/>`]));
      await start(...images);
      for (const [index, each] of images.entries()) {
        catalog.fetchTagged.withArgs(sinon.match.any, `v${String(index + 1)}` as never).resolves(each.manifest.bytes);
      }
      let release: () => void = () => undefined;
      const released = new Promise<void>((resolve) => {
        release = resolve;
      });
      const { promise: reading, resolve: onReading } = Promise.withResolvers<undefined>();
      const whole = stubGateway(...images);
      gateway.fetchBlob.callsFake(async (...args) => {
        if (gateway.fetchBlob.callCount === 2) onReading(undefined);
        await released;
        return whole.fetchBlob(...args);
      });
      const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      const third = async (): Promise<Response<string>> => {
        const tagged3 = new Promise<void>((resolve) => {
          catalog.fetchTagged.withArgs(sinon.match.any, 'v3').callsFake(async () => {
            setImmediate(resolve);
            return images[2]?.manifest.bytes ?? Buffer.alloc(0);
          });
        });
        const answer = client(`${ICON}/v3`);
        await tagged3;
        await new Promise((resolve) => setImmediate(resolve));
        clock.tick(5000);
        return answer;
      };
      try {
        const running = [client(`${ICON}/v1`), client(`${ICON}/v2`)];
        await reading;
        const { statusCode, headers, body } = await third();
        expect([statusCode, body]).to.deep.equal([503, 'too many downloads are in progress\n']);
        expect(headers).to.include({ 'retry-after': '1' });
        release();
        for (const answer of await Promise.all(running)) expect(answer.statusCode).to.equal(200);
      } finally {
        clock.restore();
      }
    });

    async function expectFailure(path: string, status: number, body: string): Promise<void> {
      for (const method of ['GET', 'HEAD'] as const) {
        const answer = await client(path, { method });
        expect([answer.statusCode, answer.body]).to.deep.equal([status, method === 'HEAD' ? '' : `${body}\n`]);
        expect(answer.headers).to.include({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
        expect(answer.headers).not.to.have.any.keys('content-disposition', 'etag', 'docker-content-digest');
        if (status === 503) expect(answer.headers).to.have.property('retry-after');
      }
    }
  });
});

describe('parseIconPath', () => {
  const at = (rest: string): string => `/v1/packages/${rest}`;
  const icon = { repository: 'main', package: 'a', version: undefined };

  const known: Readonly<Record<string, object>> = {
    'main/a/metadata/icon': icon,
    'main/a/metadata/icon/': icon,
    'main/a/metadata/icon/v1.0.0': { ...icon, version: 'v1.0.0' },
    'main/a/metadata/icon/1/': { ...icon, version: '1' },
    'main.example-1/my_package.x/metadata/icon/1.2-rc.1': {
      repository: 'main.example-1',
      package: 'my_package.x',
      version: '1.2-rc.1',
    },
    'm%61in/a/metadata/%69con/v1%2E0': { ...icon, version: 'v1.0' },
    [`${'a'.repeat(253)}/${'b'.repeat(255)}/metadata/icon`]: {
      repository: 'a'.repeat(253),
      package: 'b'.repeat(255),
      version: undefined,
    },
  };
  for (const [path, request] of Object.entries(known)) {
    it(`knows ${path.slice(0, 60)}`, () => {
      expect(parseIconPath(at(path))).to.deep.equal(request);
      expect(iconRouteOf(at(path))).to.equal('/v1/packages/icon');
    });
  }

  const unknown = [
    '',
    'main',
    'main/a',
    'main/a/metadata',
    'main/a/metadata/',
    'main/a/metadata/readme',
    'main/a/icon',
    'main//metadata/icon',
    '/a/metadata/icon',
    'main/a/metadata/icon//',
    'main/a/metadata//icon',
    'main/a/metadata/icon/v1.0.0/x',
    'main/a/metadata/icon/latest',
    'main/a/metadata/icon/v1.0.0+build',
    'main/a/metadata/icon/1.2.3.4',
    'main/a/metadata/iconx',
    'main/a/metadata/icon/..',
    'main/../metadata/icon',
    './a/metadata/icon',
    'main/a%2fb/metadata/icon',
    'main/a%00/metadata/icon',
    'main/a%/metadata/icon',
    'main/a%252fb/metadata/icon',
    'Main/a/metadata/icon',
    'main_1/a/metadata/icon',
    '-main/a/metadata/icon',
    'main:80/a/metadata/icon',
    'main..x/a/metadata/icon',
    `${'a'.repeat(254)}/a/metadata/icon`,
    'main/A/metadata/icon',
    'main/-a/metadata/icon',
    'main/a:b/metadata/icon',
    `main/${'b'.repeat(256)}/metadata/icon`,
    'main/a/metadata/icon/v1%0d%0a',
  ];
  for (const path of unknown) {
    it(`refuses ${JSON.stringify(path.slice(0, 60))}`, () => {
      expect(() => parseIconPath(at(path))).to.throw(RefusedError, 'bad request');
      expect(iconRouteOf(at(path))).to.equal(undefined);
    });
  }
});
