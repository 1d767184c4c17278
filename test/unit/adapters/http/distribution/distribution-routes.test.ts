import { expect } from 'chai';
import got, { type Got } from 'got';
import sinon from 'sinon';
import { distributionFeature } from '../../../../../src/adapters/http/distribution/distribution-routes.ts';
import { Admission, ADMISSION_LIMITS } from '../../../../../src/adapters/http/server/admission.ts';
import { GetPackage } from '../../../../../src/application/get-package.ts';
import { ReadRepository } from '../../../../../src/application/read-repository.ts';
import { ResolvePackage } from '../../../../../src/application/resolve-package.ts';
import {
  CredentialsPendingError,
  PackageUnknownError,
  SignatureError,
  UpstreamDeniedError,
  UpstreamThrottledError,
  UpstreamTimeoutError,
} from '../../../../../src/domain/errors.ts';
import { type RunningApp, startHttpApp } from '../../../../support/http-app.ts';
import { makeImage, makeIndex } from '../../../../support/image.ts';
import { MemoryPackageStore } from '../../../../support/memory-package-store.ts';
import {
  type StubbedCredentials,
  type StubbedGateway,
  stubCredentials,
  stubGateway,
  UPSTREAM,
} from '../../../../support/ports.ts';

const amd64 = { os: 'linux', architecture: 'amd64' };
const stopping = new AbortController().signal;

interface OciErrors {
  readonly errors: readonly { readonly code: string; readonly message: string }[];
}

describe('distributionFeature', () => {
  const image = makeImage([new Uint8Array(50_000).fill(1), new Uint8Array(90_000).fill(2)]);
  const index = makeIndex([{ image, platform: amd64 }]);
  const [config, first] = image.blobs.map(({ descriptor }) => descriptor);
  const layer = image.layer;
  let gateway: StubbedGateway;
  let credentials: StubbedCredentials;
  let fetchTagged: sinon.SinonStub;
  let blobSize: sinon.SinonStub;
  let app: RunningApp;
  let client: Got;

  beforeEach(async () => {
    gateway = stubGateway(index, image);
    credentials = stubCredentials();
    credentials.resolve.resolves(UPSTREAM);
    fetchTagged = sinon.stub().resolves(index.index.bytes);
    blobSize = sinon.stub().rejects(new PackageUnknownError('BLOB_UNKNOWN'));
    const ports = { store: new MemoryPackageStore(), gateway, credentials, stopping };
    const manifests = new ResolvePackage({ ...ports, platform: amd64 });
    const packages = new GetPackage({ ...ports, resolve: manifests, parallelDownloads: 4 });
    const repositories = new ReadRepository({
      ...ports,
      manifests,
      packages,
      catalog: { fetchTagged },
      sizes: { blobSize },
      signatures: undefined,
    });
    const admission = new Admission({ ...ADMISSION_LIMITS, maxHeldBytes: Infinity });
    app = await startHttpApp({ admission, distribution: distributionFeature({ repositories, admission }) });
    client = got.extend({ prefixUrl: `${app.url}/v2`, retry: { limit: 0 }, throwHttpErrors: false, decompress: false });
  });
  afterEach(() => app.close());

  const codeOf = (body: string): string | undefined => (JSON.parse(body) as OciErrors).errors[0]?.code;

  it('answers /v2/ as a registry', async () => {
    const { statusCode, headers, body } = await client('');
    expect([statusCode, body]).to.deep.equal([200, '{}']);
    expect(headers).to.include({
      'docker-distribution-api-version': 'registry/2.0',
      'content-type': 'application/json',
    });
  });

  it('sends manifests and indexes by their own media type, also to a client that accepts others', async () => {
    for (const [{ digest }, bytes, type] of [
      [image, image.manifest.bytes, image.manifest.descriptor.mediaType],
      [index, index.index.bytes, index.index.descriptor.mediaType],
    ] as const) {
      for (const accept of [
        undefined,
        '*/*',
        'application/json',
        'application/vnd.docker.distribution.manifest.v1+json',
      ]) {
        const { headers, rawBody } = await client(`deckhouse/manifests/${digest}`, { headers: { accept } });
        expect(Buffer.compare(rawBody, bytes)).to.equal(0);
        expect(headers).to.include({
          'content-type': type,
          'content-length': String(bytes.byteLength),
          'docker-content-digest': digest,
          'docker-distribution-api-version': 'registry/2.0',
          etag: `"${digest}"`,
        });
      }
      const head = await client.head(`deckhouse/manifests/${digest}`);
      expect([head.statusCode, head.headers['content-length'], head.body]).to.deep.equal([
        200,
        String(bytes.byteLength),
        '',
      ]);
    }
  });

  it('asks the registry for the current manifest of a tag, and forbids caches to store the answer', async () => {
    const { headers, rawBody } = await client('deckhouse/manifests/v1');
    expect(Buffer.compare(rawBody, index.index.bytes)).to.equal(0);
    expect(headers).to.include({ 'docker-content-digest': index.digest, 'cache-control': 'private, no-cache' });
    fetchTagged.rejects(new PackageUnknownError('MANIFEST_UNKNOWN'));
    const { statusCode, body } = await client('deckhouse/manifests/v1');
    expect([statusCode, codeOf(body)]).to.deep.equal([404, 'MANIFEST_UNKNOWN']);
  });

  it('sends every blob of a manifest, also its config, the second time from the cache', async () => {
    await client(`deckhouse/manifests/${image.digest}`);
    for (const { descriptor, bytes } of image.blobs) {
      for (const outcome of [/fwd=miss/, /hit/]) {
        const { headers, rawBody } = await client(`deckhouse/blobs/${descriptor.digest}`);
        expect(Buffer.compare(rawBody, bytes)).to.equal(0);
        expect(headers['cache-status']).to.match(outcome);
        expect(headers).to.include({
          'content-type': 'application/octet-stream',
          'accept-ranges': 'bytes',
          'docker-content-digest': descriptor.digest,
        });
        expect(headers).not.to.have.property('content-disposition');
      }
    }
    sinon.assert.callCount(gateway.fetchBlob, image.blobs.length);
    expect(app.finished.map(({ route }) => route)).to.deep.equal([
      '/v2/manifests',
      ...Array.from({ length: 2 * image.blobs.length }, () => '/v2/blobs'),
    ]);
  });

  it('downloads a blob once for clients that ask at the same time', async () => {
    await client(`deckhouse/manifests/${image.digest}`);
    const bodies = await Promise.all(
      [1, 2, 3, 4].map(() => client(`deckhouse/blobs/${layer.descriptor.digest}`).buffer()),
    );
    for (const body of bodies) expect(Buffer.compare(body, layer.bytes)).to.equal(0);
    sinon.assert.calledOnce(gateway.fetchBlob);
  });

  it('answers HEAD with the size from the manifest or from the registry, and downloads nothing', async () => {
    blobSize.resolves(layer.bytes.byteLength);
    const { statusCode, headers } = await client.head(`deckhouse/blobs/${layer.descriptor.digest}`);
    expect([statusCode, headers['content-length']]).to.deep.equal([200, '90000']);
    sinon.assert.notCalled(gateway.fetchBlob);
  });

  it('sends the requested range, and refuses a range after the end', async () => {
    await client(`deckhouse/manifests/${image.digest}`);
    const ask = (range: string) => client(`deckhouse/blobs/${layer.descriptor.digest}`, { headers: { range } });
    const part = await ask('bytes=100-');
    expect([part.statusCode, part.headers['content-range']]).to.deep.equal([206, 'bytes 100-89999/90000']);
    expect(Buffer.compare(part.rawBody, layer.bytes.subarray(100))).to.equal(0);
    const { statusCode, headers, body } = await ask('bytes=90000-');
    expect([statusCode, headers['content-range'], codeOf(body)]).to.deep.equal([416, 'bytes */90000', 'RANGE_INVALID']);
    expect((await ask('bytes=0-1,5-6')).statusCode).to.equal(200);
  });

  it('answers 304 if the client has the blob', async () => {
    for (const path of [`blobs/${layer.descriptor.digest}`, `manifests/${image.digest}`]) {
      const etag = `"${path.split('/')[1] ?? ''}"`;
      const { statusCode } = await client(`deckhouse/${path}`, { headers: { 'if-none-match': etag } });
      expect(statusCode, path).to.equal(304);
    }
    sinon.assert.notCalled(gateway.fetchManifest);
  });

  it('completes no body before the blob is verified', async () => {
    await client(`deckhouse/manifests/${image.digest}`);
    gateway.fetchBlob.callsFake(async function* () {
      yield new Uint8Array(90_000).fill(9);
    } as never);
    const broken = await client(`deckhouse/blobs/${layer.descriptor.digest}`).catch((error: unknown) => error);
    expect(broken).to.satisfy(
      (answer: { statusCode?: number; code?: string }) => answer.statusCode === 502 || answer.code !== undefined,
    );
  });

  it('answers requests that clients of mirrors send', async () => {
    await client(`deckhouse/manifests/${image.digest}`);
    const { digest } = layer.descriptor;
    const cases: readonly [what: string, path: string, headers: Record<string, string>, status: number][] = [
      [
        'a part of a manifest (containerd 2, parallel fetch)',
        `manifests/${image.digest}`,
        { range: 'bytes=0-99' },
        200,
      ],
      ['all of a blob as a part', `blobs/${digest}`, { range: 'bytes=0-' }, 206],
      ['a part that ends behind the blob', `blobs/${digest}`, { range: 'bytes=10-999999' }, 206],
      ['the last bytes', `blobs/${digest}`, { range: 'bytes=-5' }, 206],
      ['the rest of a blob that is here whole', `blobs/${digest}`, { range: 'bytes=90000-' }, 416],
      ['a part of another version', `blobs/${digest}`, { range: 'bytes=5-', 'if-range': '"other"' }, 200],
      ['a slash at the end', `manifests/${image.digest}/`, {}, 200],
      ['an empty namespace', `manifests/${image.digest}?ns=`, {}, 200],
      ['two namespaces', `manifests/${image.digest}?ns=a.example&ns=b.example`, {}, 400],
      ['a namespace with a scheme', `manifests/${image.digest}?ns=https://registry.example`, {}, 400],
      ['the namespace with the port of its scheme', `manifests/${image.digest}?ns=registry.example:443`, {}, 200],
      ['an account of another registry', `manifests/${image.digest}`, { authorization: 'Basic eDp5' }, 200],
      ['an encoding', `blobs/${digest}`, { 'accept-encoding': 'gzip, zstd' }, 200],
      ['a digest in capitals', `blobs/${digest.toUpperCase()}`, {}, 400],
      ['a digest without its algorithm', `blobs/${digest.slice(7)}`, {}, 400],
      ['a layer as a manifest', `manifests/${digest}`, {}, 404],
      ['a manifest as a blob, when it is cached', `blobs/${image.digest}`, {}, 200],
      ['a tag by which cosign keeps signatures', `manifests/${image.digest.replace(':', '-')}.sig`, {}, 404],
    ];
    fetchTagged.rejects(new PackageUnknownError('MANIFEST_UNKNOWN'));
    for (const [what, path, headers, status] of cases) {
      const answer = await client(`deckhouse/${path}`, { headers });
      expect(answer.statusCode, `${what}: ${answer.body.slice(0, 200)}`).to.equal(status);
      expect(answer.headers, what).not.to.have.property('content-encoding');
      const head = await client.head(`deckhouse/${path}`, { headers });
      // HEAD has no ranges.
      expect(head.statusCode, `HEAD of ${what}`).to.equal(status === 206 || status === 416 ? 200 : status);
    }
  });

  it('refuses all writing requests, and unknown paths', async () => {
    for (const method of ['PUT', 'POST', 'PATCH', 'DELETE'] as const) {
      const { statusCode, headers, body } = await client(`deckhouse/manifests/${image.digest}`, { method });
      expect([statusCode, headers.allow, codeOf(body)], method).to.deep.equal([405, 'GET, HEAD', 'UNSUPPORTED']);
    }
    for (const path of ['deckhouse/tags/list', '_catalog', `deckhouse/referrers/${image.digest}`]) {
      const { statusCode, body } = await client(path);
      expect([statusCode, codeOf(body)], path).to.deep.equal([404, 'UNSUPPORTED']);
    }
  });

  it('sends errors with the format and the codes of the specification, without text of the registry', async () => {
    const path = `deckhouse/manifests/${image.digest}`;
    for (const [error, status, code] of [
      [new PackageUnknownError('MANIFEST_UNKNOWN'), 404, 'MANIFEST_UNKNOWN'],
      [new SignatureError('missing', 'secret'), 403, 'DENIED'],
      [new UpstreamDeniedError({ cause: new Error('secret') }), 502, 'UNAVAILABLE'],
      [new UpstreamTimeoutError(), 504, 'UNAVAILABLE'],
      [new UpstreamThrottledError(7), 503, 'TOOMANYREQUESTS'],
      [new TypeError('secret'), 500, 'UNKNOWN'],
    ] as const) {
      gateway.fetchManifest.rejects(error);
      const { statusCode, headers, body } = await client(path);
      expect([statusCode, codeOf(body)], code).to.deep.equal([status, code]);
      expect(headers).to.include({ 'cache-control': 'no-store', 'docker-distribution-api-version': 'registry/2.0' });
      expect(headers['retry-after']).to.equal(status === 503 ? '7' : undefined);
      expect(body).not.to.include('secret');
      expect((await client.head(path)).statusCode).to.equal(status);
    }
    credentials.resolve.rejects(new CredentialsPendingError());
    expect((await client(path)).statusCode).to.equal(503);
  });

  it('answers as the registry does for a config that is in no known manifest', async () => {
    const { statusCode, body } = await client(`deckhouse/blobs/${config?.digest ?? ''}`);
    expect([statusCode, codeOf(body)]).to.deep.equal([404, 'BLOB_UNKNOWN']);
    blobSize.resolves(first?.size ?? 0);
    expect((await client(`deckhouse/blobs/${first?.digest ?? ''}`)).statusCode).to.equal(200);
  });
});

describe('createHttpApp without /v2/', () => {
  it('answers 404', async () => {
    const app = await startHttpApp({});
    try {
      const { statusCode } = await got(`${app.url}/v2/`, { throwHttpErrors: false });
      expect([statusCode, app.finished[0]?.route]).to.deep.equal([404, 'other']);
    } finally {
      await app.close();
    }
  });
});
