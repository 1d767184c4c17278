import { expect } from 'chai';
import got, { type Got } from 'got';
import sinon from 'sinon';
import { type CacheOutcome, type Delivery } from '../../../../src/application/get-package.ts';
import {
  CredentialsPendingError,
  DigestMismatchError,
  InvalidContentError,
  PackageUnknownError,
  RepositoryUnknownError,
  StoppingError,
  UpstreamDeniedError,
  UpstreamThrottledError,
  UpstreamTimeoutError,
  UpstreamUnavailableError,
} from '../../../../src/domain/errors.ts';
import type { BlobReader } from '../../../../src/domain/ports/package-store.ts';
import { type RunningApp, startHttpApp } from '../../../support/http-app.ts';
import { makePackage } from '../../../support/image.ts';

const image = makePackage(1_500_000);
const found = { digest: image.digest, layer: image.layer.descriptor };

interface TestReader extends BlobReader {
  /** The failure of a read at or after this offset. */
  failure: { from: number; how: () => Promise<never> } | undefined;
  readonly closed: PromiseWithResolvers<void>;
  closes: number;
}

function readerOf(bytes: Uint8Array): TestReader {
  const reader: TestReader = {
    size: bytes.byteLength,
    failure: undefined,
    closed: Promise.withResolvers(),
    closes: 0,
    read: async (offset) => {
      if (reader.failure !== undefined && offset >= reader.failure.from) return reader.failure.how();
      return bytes.subarray(offset, reader.failure?.from);
    },
    close: async () => {
      reader.closes++;
      reader.closed.resolve();
    },
  };
  return reader;
}

describe('the HTTP interface', () => {
  const get = { execute: sinon.stub(), head: sinon.stub() };
  let app: RunningApp;
  let client: Got;
  let reasons: (string | undefined)[];

  beforeEach(async () => {
    get.execute.reset();
    get.head.reset();
    reasons = [undefined];
    app = await startHttpApp({
      packages: { get, manifests: { manifest: () => Promise.reject(new Error()) } },
      readiness: [async () => reasons[0]],
      metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'up 1\n' }),
    });
    client = got.extend({ prefixUrl: app.url, retry: { limit: 0 }, throwHttpErrors: false, decompress: false });
  });
  afterEach(() => app.close());

  function deliver(
    cache: CacheOutcome = { kind: 'miss', isStored: () => true, source: () => undefined },
    bytes = image.layer.bytes,
  ): ReturnType<typeof readerOf> {
    const blob = readerOf(bytes);
    get.execute.resolves({ package: found, cache, blob } satisfies Delivery);
    return blob;
  }
  const query = `package?digest=${image.digest}`;

  describe('GET /package', () => {
    it('answers with the bytes and all headers', async () => {
      const blob = deliver();
      const response = await client(query, { responseType: 'buffer' });
      expect(response.statusCode).to.equal(200);
      expect(Buffer.compare(response.body, image.layer.bytes)).to.equal(0);
      const hex = image.digest.slice(7);
      const layerHash = Buffer.from(image.layer.descriptor.digest.slice(7), 'hex').toString('base64');
      expect(response.headers).to.include({
        'content-type': 'application/x-gzip',
        'content-length': '1500000',
        etag: `"${image.digest}"`,
        'cache-control': 'private, max-age=31536000, immutable',
        'accept-ranges': 'bytes',
        'content-disposition': `attachment; filename="sha256-${hex}.tar.gz"`,
        'docker-content-digest': image.digest,
        'repr-digest': `sha-256=:${layerHash}:`,
        'cache-status': 'registry-packages-proxy; fwd=miss; stored',
        'x-content-type-options': 'nosniff',
      });
      expect(response.headers).not.to.have.property('transfer-encoding');
      await app.finishedCount(1);
      expect(blob.closes).to.equal(1);
    });

    it('says "stored" only if the package was stored', async () => {
      deliver({ kind: 'miss', isStored: () => false, source: () => undefined });
      expect((await client(query)).headers['cache-status']).to.equal('registry-packages-proxy; fwd=miss');
    });

    it('passes digest, repository and path to the use case', async () => {
      deliver();
      await client(`${query}&repository=registry.example/modules&path=ingress`);
      expect(get.execute.firstCall.args[0]).to.deep.equal({
        digest: image.digest,
        repository: 'registry.example/modules',
        path: 'ingress',
      });
    });

    const outcomes: [CacheOutcome, string][] = [
      [{ kind: 'miss', isStored: () => true, source: () => 'bucket' }, 'fwd=miss; stored; detail=bucket'],
      [{ kind: 'miss', isStored: () => false, source: () => 'mirror' }, 'fwd=miss; detail=mirror'],
      [{ kind: 'hit', storedAt: new Date() }, 'hit'],
      [{ kind: 'joined' }, 'fwd=miss; collapsed'],
      [{ kind: 'bypass', reason: 'store-full' }, 'fwd=bypass; detail=store-full'],
    ];
    for (const [cache, status] of outcomes) {
      it(`says in Cache-Status: ${status}`, async () => {
        deliver(cache);
        const { headers } = await client(query);
        expect(headers['cache-status']).to.equal(`registry-packages-proxy; ${status}`);
      });
    }

    it('sends the Age of a cached package', async () => {
      deliver({ kind: 'hit', storedAt: new Date(Date.now() - 5500) });
      expect((await client(query)).headers.age).to.equal('5');
    });

    it('keeps the type of a layer that is not gzip', async () => {
      const zstd = { ...found, layer: { ...found.layer, mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd' } };
      get.execute.resolves({
        package: zstd,
        cache: { kind: 'miss', isStored: () => true, source: () => undefined },
        blob: readerOf(image.layer.bytes),
      });
      expect((await client(query)).headers['content-type']).to.equal('application/vnd.oci.image.layer.v1.tar+zstd');
    });

    it('answers an empty package', async () => {
      const empty = makePackage(0);
      get.execute.resolves({
        package: { digest: empty.digest, layer: empty.layer.descriptor },
        cache: { kind: 'miss', isStored: () => true, source: () => undefined },
        blob: readerOf(empty.layer.bytes),
      });
      const response = await client(query);
      expect(response.statusCode).to.equal(200);
      expect(response.headers['content-length']).to.equal('0');
    });

    it('answers 502 for an empty package that should not be empty', async () => {
      const blob = deliver({ kind: 'miss', isStored: () => true, source: () => undefined }, new Uint8Array());
      blob.failure = { from: 0, how: () => Promise.reject(new DigestMismatchError('a', 'b')) };
      expect((await client(query)).statusCode).to.equal(502);
    });

    it('closes the connection before the end of Content-Length when a read fails', async () => {
      const blob = deliver();
      blob.failure = { from: 1_000_000, how: () => Promise.reject(new DigestMismatchError('a', 'b')) };
      const error = await client(query).then(
        () => undefined,
        (cause: unknown) => cause,
      );
      expect(error).to.be.instanceOf(Error);
      await app.finishedCount(1);
      expect(app.finished[0]).to.include({ status: 502 });
      await blob.closed.promise;
    });

    it('answers 502 when reading fails before the first byte', async () => {
      const blob = deliver();
      blob.failure = { from: 0, how: () => Promise.reject(new DigestMismatchError('a', 'b')) };
      expect((await client(query)).statusCode).to.equal(502);
      expect(blob.closes).to.equal(1);
    });

    it('stops reading when the client leaves, with status 499', async () => {
      const blob = deliver();
      blob.failure = { from: 600_000, how: () => blob.closed.promise.then(() => Promise.reject(new Error('closed'))) };
      const request = client.stream(query, { throwHttpErrors: true });
      request.once('data', () => request.destroy());
      request.once('error', () => undefined);
      await app.finishedCount(1);
      expect(app.finished[0]).to.include({ status: 499 });
      await blob.closed.promise;
    });

    describe('with a range', () => {
      it('answers 206 with exactly the requested bytes', async () => {
        deliver();
        const response = await client(query, { headers: { range: 'bytes=600000-1299999' }, responseType: 'buffer' });
        expect(response.statusCode).to.equal(206);
        expect(response.headers).to.include({
          'content-range': 'bytes 600000-1299999/1500000',
          'content-length': '700000',
        });
        expect(Buffer.compare(response.body, image.layer.bytes.subarray(600_000, 1_300_000))).to.equal(0);
      });

      it('completes no part before the whole package is verified', async () => {
        const blob = deliver();
        blob.failure = { from: 1_500_000, how: () => Promise.reject(new DigestMismatchError('a', 'b')) };
        const error = await client(query, { headers: { range: 'bytes=0-999' } }).then(
          () => undefined,
          (cause: unknown) => cause,
        );
        expect(error).to.be.instanceOf(Error);
        await app.finishedCount(1);
        expect(app.finished[0]).to.include({ status: 502, bytes: 999 });
      });

      it('answers 416 with the size for a range after the end', async () => {
        const blob = deliver();
        const response = await client(query, { headers: { range: 'bytes=1500000-' } });
        expect(response.statusCode).to.equal(416);
        expect(response.headers).to.include({ 'content-range': 'bytes */1500000', 'cache-control': 'no-store' });
        expect(blob.closes).to.equal(1);
      });

      it('answers 200 when If-Range names something else', async () => {
        deliver();
        const response = await client(query, { headers: { range: 'bytes=0-1', 'if-range': '"other"' } });
        expect(response.statusCode).to.equal(200);
      });
    });

    it('answers 304 to a client that has the package, and asks no registry', async () => {
      for (const method of ['GET', 'HEAD'] as const) {
        const response = await client(query, { method, headers: { 'if-none-match': `"x", W/"${image.digest}"` } });
        expect(response.statusCode).to.equal(304);
        expect(response.headers).to.include({ etag: `"${image.digest}"` });
        expect(response.headers).to.have.property('cache-control');
      }
      sinon.assert.notCalled(get.execute);
      sinon.assert.notCalled(get.head);
    });

    it('answers 304 to If-None-Match: * only if the package exists', async () => {
      get.head.resolves({ package: found, storedAt: undefined });
      expect((await client(query, { headers: { 'if-none-match': '*' } })).statusCode).to.equal(304);
      get.head.rejects(new PackageUnknownError('MANIFEST_UNKNOWN'));
      expect((await client(query, { headers: { 'if-none-match': '*' } })).statusCode).to.equal(404);
    });
  });

  describe('HEAD /package', () => {
    it('answers with the headers of GET and downloads no blob', async () => {
      deliver();
      const expected = await client(query);
      get.head.resolves({ package: found, storedAt: undefined });
      const response = await client.head(query);
      expect(response.statusCode).to.equal(200);
      const varying = ['date', 'x-request-id', 'cache-status', 'connection', 'keep-alive'];
      for (const [name, value] of Object.entries(expected.headers)) {
        if (!varying.includes(name)) expect(response.headers, name).to.have.property(name, value);
      }
      sinon.assert.calledOnce(get.execute);
    });

    it('shows whether the package is cached', async () => {
      get.head.resolves({ package: found, storedAt: new Date() });
      expect((await client.head(query)).headers['cache-status']).to.equal('registry-packages-proxy; hit');
    });
  });

  describe('errors', () => {
    const table: [error: Error, status: number, body: string, retryAfter?: string][] = [
      [new RepositoryUnknownError(), 404, 'repository is not known to this proxy'],
      [new PackageUnknownError('MANIFEST_UNKNOWN'), 404, 'package not found'],
      [new PackageUnknownError('BLOB_UNKNOWN'), 404, 'package not found'],
      [new CredentialsPendingError(), 503, 'registry credentials are not loaded yet', '1'],
      [new UpstreamThrottledError(17), 503, 'registry is throttling', '17'],
      [new StoppingError(), 503, 'service is stopping', '1'],
      [new UpstreamDeniedError(), 502, 'registry refused the configured credentials'],
      [new UpstreamUnavailableError(), 502, 'registry is unavailable'],
      [new InvalidContentError('image has no layers'), 502, 'image has no layers'],
      [new DigestMismatchError('a', 'b'), 502, 'content does not match its digest'],
      [new UpstreamTimeoutError(), 504, 'registry did not answer in time'],
      [new TypeError('secret internals'), 500, 'internal error'],
    ];
    for (const [error, status, body, retryAfter] of table) {
      it(`answers ${String(status)} "${body}" to a ${error.name}`, async () => {
        get.execute.rejects(error);
        const response = await client(query);
        expect(response.statusCode).to.equal(status);
        expect(response.body).to.equal(`${body}\n`);
        expect(response.headers).to.include({
          'content-type': 'text/plain; charset=utf-8',
          'cache-control': 'no-store',
          'x-content-type-options': 'nosniff',
        });
        expect(response.headers['retry-after']).to.equal(retryAfter);
        expect(app.finished[0]).to.include({ status, error });
      });
    }

    it('answers 400 before a registry is asked', async () => {
      const response = await client('package?digest=latest');
      expect(response.statusCode).to.equal(400);
      sinon.assert.notCalled(get.execute);
    });

    it('answers problem+json to a client that prefers JSON', async () => {
      get.execute.rejects(new PackageUnknownError('MANIFEST_UNKNOWN'));
      const headers = { accept: 'application/json', 'x-request-id': 'abc-1' };
      const response = await client(query, { headers, responseType: 'json' });
      expect(response.headers['content-type']).to.equal('application/problem+json');
      expect(response.body).to.deep.equal({
        type: 'about:blank',
        title: 'manifest unknown',
        status: 404,
        detail: 'package not found',
        code: 'MANIFEST_UNKNOWN',
        request_id: 'abc-1',
      });
    });

    it('answers HEAD with the same status and no body', async () => {
      get.head.rejects(new UpstreamDeniedError());
      const response = await client.head(query);
      expect(response.statusCode).to.equal(502);
      expect(response.body).to.equal('');
    });

    it('answers 405 with Allow, before it looks at parameters', async () => {
      for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS'] as const) {
        const response = await client('package', { method });
        expect(response.statusCode).to.equal(405);
        expect(response.headers.allow).to.equal('GET, HEAD');
      }
    });

    for (const path of ['package/', 'Package', '%70ackage', '/healthz', 'index.html']) {
      it(`knows no page /${path}`, async () => {
        const response = await client(`${app.url}/${path}`, { prefixUrl: '' });
        expect(response.statusCode).to.equal(404);
      });
    }
  });

  it('answers /healthz with 200 also if it is not ready', async () => {
    reasons = ['the disk is on fire'];
    const response = await client('healthz');
    expect(response).to.include({ statusCode: 200, body: 'ok' });
  });

  it('answers /readyz with 200 if nothing is missing, else with the reasons', async () => {
    expect(await client('readyz')).to.include({ statusCode: 200, body: 'ok' });
    reasons = ['the disk is on fire'];
    expect(await client('readyz')).to.include({ statusCode: 503, body: 'the disk is on fire\n' });
  });

  it('shows metrics', async () => {
    const response = await client('metrics');
    expect(response.headers['content-type']).to.equal('text/plain; version=0.0.4');
    expect(response.body).to.equal('up 1\n');
  });

  it('gives every request an id, and keeps a valid X-Request-Id', async () => {
    expect((await client('healthz')).headers['x-request-id']).to.match(/^[0-9a-f-]{36}$/);
    expect((await client('healthz', { headers: { 'x-request-id': 'trace.1_2-3' } })).headers['x-request-id']).to.equal(
      'trace.1_2-3',
    );
    expect((await client('healthz', { headers: { 'x-request-id': 'a b"c' } })).headers['x-request-id']).to.match(
      /^[0-9a-f-]{36}$/,
    );
  });

  it('records the trace of each request', async () => {
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    await client('healthz', { headers: { traceparent, tracestate: 'rojo=1' } });
    await client('healthz', { headers: { traceparent: 'nonsense', tracestate: 'rojo=1' } });
    await app.finishedCount(2);
    expect(app.finished.map(({ trace }) => trace.traceId)).to.deep.equal([traceparent.split('-')[1], undefined]);
    expect(app.finished[0]?.trace.headers()).to.include({ tracestate: 'rojo=1' });
  });

  it('records the client address that the sidecar adds, and the address of the connection', async () => {
    const addresses: [forwarded: string | undefined, client: string][] = [
      [undefined, '127.0.0.1'],
      ['192.0.2.7', '192.0.2.7'],
      ['198.51.100.1, 2001:db8::7', '2001:db8::7'],
      ['192.0.2.7, canary', '127.0.0.1'],
    ];
    for (const [forwarded] of addresses) await client('healthz', { headers: { 'x-forwarded-for': forwarded } });
    await app.finishedCount(addresses.length);
    expect(app.finished.map((request) => request.client)).to.deep.equal(addresses.map(([, address]) => address));
    expect(app.finished.map((request) => request.connected)).to.deep.equal(addresses.map(() => '127.0.0.1'));
  });

  it('reports each request once, with its result', async () => {
    deliver({ kind: 'hit', storedAt: new Date() });
    await client(query);
    await client('nowhere/canary');
    await app.finishedCount(2);
    expect(app.finished[0]).to.deep.include({ route: '/package', method: 'GET', status: 200, bytes: 1_500_000 });
    expect(app.finished[0]?.cache?.kind).to.equal('hit');
    expect(app.finished[1]).to.include({ route: 'other', status: 404 });
  });
});
