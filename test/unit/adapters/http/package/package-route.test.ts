import { expect } from 'chai';
import got, { type Got } from 'got';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import sinon from 'sinon';
import { FilesystemPackageStore } from '../../../../../src/adapters/filesystem/filesystem-package-store.ts';
import { NoPackageStore } from '../../../../../src/adapters/unstored/no-package-store.ts';
import { GetPackage } from '../../../../../src/application/get-package.ts';
import { ResolvePackage } from '../../../../../src/application/resolve-package.ts';
import type { PackageStore } from '../../../../../src/domain/ports/package-store.ts';
import { type RunningApp, startHttpApp } from '../../../../support/http-app.ts';
import { makeIndex, makePackage, type TestImage } from '../../../../support/image.ts';
import { MemoryPackageStore } from '../../../../support/memory-package-store.ts';
import { type StubbedGateway, stubCredentials, stubGateway } from '../../../../support/ports.ts';
import { HeldSource, ingest, sourceOf } from '../../../../support/source.ts';
import { RANGE_REQUESTS, type RangeRequest, SIZE } from './range-requests.ts';

/** The bytes of a growing package that have arrived while its requests are answered. */
const ARRIVED = 100_000;

const BODY_HEADERS = {
  'content-type': 'application/x-gzip',
  'content-length': String(SIZE),
  'cache-control': 'private, max-age=31536000, immutable',
  'accept-ranges': 'bytes',
  'x-content-type-options': 'nosniff',
};
/** Headers of the connection and of this one answer. */
const VARYING = ['date', 'connection', 'keep-alive', 'x-request-id'];

interface Answer {
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

describe('packageRoute', () => {
  let directory: string;
  let store: FilesystemPackageStore;
  let app: RunningApp;
  let deliveries: number;

  /** Starts all parts behind the HTTP interface except the registry. */
  async function start(maxBytes: number, images: readonly TestImage[]): Promise<ReturnType<typeof stubGateway>> {
    directory = await mkdtemp(join(tmpdir(), 'package-route-'));
    store = new FilesystemPackageStore({ directory, maxBytes });
    await store.load();
    const gateway = stubGateway(...images);
    const ports = {
      store,
      gateway,
      credentials: stubCredentials(),
      parallelDownloads: 64,
      stopping: new AbortController().signal,
    };
    const resolve = new ResolvePackage({ ...ports, platform: { os: 'linux', architecture: 'amd64' } });
    const get = new GetPackage({ ...ports, resolve });
    deliveries = 0;
    const counted: Pick<GetPackage, 'execute' | 'head'> = {
      head: (request) => get.head(request),
      execute: async (request) => {
        const delivery = await get.execute(request);
        deliveries++;
        return delivery;
      },
    };
    app = await startHttpApp({ packages: { get: counted, manifests: resolve } });
    return gateway;
  }
  async function stop(): Promise<void> {
    await app.close();
    await store.close();
    await rm(directory, { recursive: true });
  }

  /** Resolves with the head of the answer. */
  async function ask({ digest }: TestImage, { method, headers }: Omit<RangeRequest, 'why' | 'expected'>) {
    const put = (value: string): string => value.replaceAll('ETAG', `"${digest}"`);
    const mine = Object.entries(headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.map(put) : put(value),
    ]);
    const options = { method: method ?? 'GET', headers: Object.fromEntries(mine) as RangeRequest['headers'] };
    const [response] = (await once(request(`${app.url}/package?digest=${digest}`, options).end(), 'response')) as [
      IncomingMessage,
    ];
    return response;
  }

  async function read(response: IncomingMessage): Promise<Answer> {
    const headers = Object.fromEntries(Object.entries(response.headers).filter(([name]) => !VARYING.includes(name)));
    return { status: response.statusCode, headers, body: await buffer(response) };
  }

  /** Expects the whole answer, including exactly its headers. */
  function expectAnswer(answer: Answer, row: RangeRequest, image: TestImage, cacheStatus: string): void {
    const { digest, layer } = image;
    const validators = {
      etag: `"${digest}"`,
      'cache-control': 'private, max-age=31536000, immutable',
      'docker-content-digest': digest,
    };
    const whole = {
      ...validators,
      ...BODY_HEADERS,
      'content-disposition': `attachment; filename="sha256-${digest.slice(7)}.tar.gz"`,
      'repr-digest': `sha-256=:${Buffer.from(layer.descriptor.digest.slice(7), 'hex').toString('base64')}:`,
      'cache-status': `registry-packages-proxy; ${cacheStatus}`,
      ...(cacheStatus === 'hit' && { age: '0' }),
    };
    const { status, headers, body } = answer;
    const aged = 'age' in headers ? { ...headers, age: '0' } : headers;
    if (row.expected === 'not modified') {
      expect({ status, headers }).to.deep.equal({ status: 304, headers: validators });
      expect(body.byteLength).to.equal(0);
    } else if (row.expected === 'unsatisfiable') {
      expect({ status, headers }).to.deep.equal({
        status: 416,
        headers: {
          'content-range': `bytes */${String(SIZE)}`,
          'accept-ranges': 'bytes',
          'cache-control': 'no-store',
          'content-type': 'text/plain; charset=utf-8',
          'content-length': '29',
          'x-content-type-options': 'nosniff',
        },
      });
      expect(body.toString()).to.equal('no byte of this range exists\n');
    } else if (row.expected === 'whole') {
      expect({ status, headers: aged }).to.deep.equal({ status: 200, headers: whole });
      expect(Buffer.compare(body, row.method === 'HEAD' ? Buffer.alloc(0) : layer.bytes)).to.equal(0);
    } else {
      const [first, last] = row.expected;
      const part = {
        'content-length': String(last - first + 1),
        'content-range': `bytes ${String(first)}-${String(last)}/${String(SIZE)}`,
      };
      expect({ status, headers: aged }).to.deep.equal({ status: 206, headers: { ...whole, ...part } });
      expect(Buffer.compare(body, layer.bytes.subarray(first, last + 1))).to.equal(0);
    }
  }

  const titleOf = ({ why, expected }: RangeRequest): string =>
    `answers ${typeof expected === 'string' ? expected : `bytes ${expected.join(' to ')}`} to ${why}`;

  describe('of a cached package', () => {
    const image = makePackage(SIZE);
    before(async () => {
      await start(10 * SIZE, [image]);
      await read(await ask(image, { headers: {} }));
    });
    after(stop);

    for (const row of RANGE_REQUESTS) {
      it(titleOf(row), async () => {
        expectAnswer(await read(await ask(image, row)), row, image, 'hit');
      });
    }
  });

  describe('of an arriving package', () => {
    const images = RANGE_REQUESTS.map((_row, index) => makePackage(SIZE, index));
    const held = new Map<string, HeldSource>();
    before(async () => {
      const gateway = await start(10 * SIZE * images.length, images);
      gateway.fetchBlob.callsFake(async (_upstream, { digest }) => {
        const source = new HeldSource();
        held.set(digest, source);
        return source.source();
      });
    });
    after(stop);

    RANGE_REQUESTS.forEach((row, index) => {
      it(titleOf(row), async () => {
        const image = images[index];
        if (image === undefined) throw new Error('no image');
        const { descriptor, bytes } = image.layer;
        const beginning = ask(image, { headers: { range: 'bytes=0-0' } });
        while (!held.has(descriptor.digest)) await new Promise(setImmediate);
        const source = held.get(descriptor.digest);
        source?.give(bytes.subarray(0, ARRIVED));
        const begun = await beginning;

        // An answer begins with the arrival of its first byte, and ends after the whole blob is verified.
        const [first] = typeof row.expected === 'string' ? [0] : row.expected;
        const before = deliveries;
        const asking = ask(image, row);
        if (first < ARRIVED) await asking;
        else while (deliveries < before + 1) await new Promise(setImmediate);
        expect(begun.readableEnded).to.equal(false);
        source?.give(bytes.subarray(ARRIVED)).end();
        const cacheStatus = row.method === 'HEAD' ? 'fwd=miss' : 'fwd=miss; collapsed';
        expectAnswer(await read(await asking), row, image, cacheStatus);
        await read(begun);
      });
    });
  });

  describe('of a package that cannot be cached', () => {
    const image = makePackage(SIZE);
    before(() => start(SIZE, [image]));
    after(stop);

    for (const row of RANGE_REQUESTS) {
      it(titleOf(row), async () => {
        const cacheStatus = row.method === 'HEAD' ? 'fwd=miss' : 'fwd=bypass; detail=store-too-small';
        expectAnswer(await read(await ask(image, row)), row, image, cacheStatus);
      });
    }
  });

  describe('of an empty package', () => {
    const image = makePackage(0);
    before(() => start(10 * SIZE, [image]));
    after(stop);

    const rows: readonly [range: string, status: number, contentRange: string | undefined][] = [
      ['bytes=0-', 416, 'bytes */0'],
      ['bytes=0-0', 416, 'bytes */0'],
      ['bytes=-0', 416, 'bytes */0'],
      ['bytes=-1', 200, undefined],
      ['bytes=x', 200, undefined],
    ];
    for (const [range, status, contentRange] of rows) {
      it(`answers ${String(status)} to ${range}`, async () => {
        const answer = await read(await ask(image, { headers: { range } }));
        expect(answer.status).to.equal(status);
        expect(answer.headers['content-range']).to.equal(contentRange);
        if (status === 200) expect(answer.headers['content-length']).to.equal('0');
      });
    }
  });
});

const amd64 = { os: 'linux', architecture: 'amd64' };

describe('manifestRoute', () => {
  const image = makePackage(1000);
  const index = makeIndex([{ image, platform: amd64 }]);
  let gateway: StubbedGateway;
  let app: RunningApp;
  let client: Got;
  const read = (query: string, headers = {}) => client(query, { headers, responseType: 'buffer' });
  beforeEach(() => start(new MemoryPackageStore()));
  afterEach(() => app.close());

  async function start(store: PackageStore): Promise<void> {
    gateway = stubGateway(index);
    const ports = { store, gateway, credentials: stubCredentials(), stopping: new AbortController().signal };
    const unused = { execute: () => Promise.reject(new Error('not part of this test')) };
    const manifests = new ResolvePackage({ ...ports, platform: amd64 });
    app = await startHttpApp({ packages: { get: { ...unused, head: unused.execute }, manifests } });
    client = got.extend({ prefixUrl: app.url, retry: { limit: 0 }, throwHttpErrors: false });
  }

  for (const [what, digest, { bytes, descriptor }] of [
    ['an index', index.digest, index.index],
    ['a manifest that an index names', image.digest, image.manifest],
  ] as const) {
    it(`sends the exact bytes of ${what} with all headers`, async () => {
      const { body, headers, statusCode } = await read(`manifest?digest=${digest}`);
      expect(statusCode).to.equal(200);
      expect(Buffer.compare(body, bytes)).to.equal(0);
      expect(headers).to.include({
        'content-type': descriptor.mediaType,
        'content-length': String(bytes.byteLength),
        etag: `"${digest}"`,
        'docker-content-digest': digest,
        'repr-digest': `sha-256=:${Buffer.from(digest.slice(7), 'hex').toString('base64')}:`,
        'cache-control': 'private, max-age=31536000, immutable',
        'x-content-type-options': 'nosniff',
      });
      expect(headers).to.have.property('x-request-id');
    });
  }

  it('answers HEAD with the same headers and no bytes', async () => {
    const [get, head] = [
      await client(`manifest?digest=${image.digest}`),
      await client.head(`manifest?digest=${image.digest}`),
    ];
    const stable = ({ date, 'x-request-id': id, ...headers }: typeof get.headers) => [headers, typeof date, typeof id];
    expect(stable(head.headers)).to.deep.equal(stable(get.headers));
    expect(head.body).to.have.lengthOf(0);
  });

  it('sends one request to the registry, for the requested repository', async () => {
    for (let times = 0; times < 2; times++) await client(`manifest?digest=${image.digest}&path=modules/jq`);
    sinon.assert.calledOnce(gateway.fetchManifest);
    expect(gateway.fetchManifest.firstCall.args[0].repository).to.match(/modules\/jq$/);
  });

  it('sends manifests without a cache', async () => {
    await app.close();
    await start(new NoPackageStore());
    const { body } = await read(`manifest?digest=${image.digest}`);
    expect(Buffer.compare(body, image.manifest.bytes)).to.equal(0);
  });

  it('answers 304 to a client that has the manifest, and asks no registry', async () => {
    const headers = { 'if-none-match': `"${image.digest}"` };
    expect((await client(`manifest?digest=${image.digest}`, { headers })).statusCode).to.equal(304);
    sinon.assert.notCalled(gateway.fetchManifest);
  });

  it('answers 304 to If-None-Match: * only if the manifest exists', async () => {
    const headers = { 'if-none-match': '*' };
    expect((await client(`manifest?digest=${image.digest}`, { headers })).statusCode).to.equal(304);
    const absent = makePackage(7).digest;
    expect((await client(`manifest?digest=${absent}`, { headers })).statusCode).to.equal(404);
  });

  it('sends no byte of a manifest with a wrong digest', async () => {
    gateway.fetchManifest.resolves(index.index.bytes);
    const { statusCode, body } = await client(`manifest?digest=${image.digest}`);
    expect(statusCode).to.equal(502);
    expect(body).to.equal('content does not match its digest\n');
  });

  it('sends only manifests, and no other cached blob', async () => {
    await app.close();
    const store = new MemoryPackageStore();
    await start(store);
    const incoming = await ingest(store, image.layer.descriptor, sourceOf(image.layer.bytes));
    await incoming.settled;
    const { statusCode } = await client(`manifest?digest=${image.layer.descriptor.digest}`);
    expect(statusCode).to.equal(404);
  });

  for (const query of ['', 'digest=latest', `digest=${makePackage(1).digest}&path=../x`, 'digest=a&digest=b']) {
    it(`refuses the query "${query.slice(0, 20)}" as /package does`, async () => {
      expect((await client(`manifest?${query}`)).statusCode).to.equal(400);
      expect((await client.post(`manifest?${query}`)).statusCode).to.equal(405);
    });
  }
});
