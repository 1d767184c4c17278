import { expect } from 'chai';
import got, { type Got } from 'got';
import sinon from 'sinon';
import { NoPackageStore } from '../../../../../src/adapters/unstored/no-package-store.ts';
import { ResolvePackage } from '../../../../../src/application/resolve-package.ts';
import type { PackageStore } from '../../../../../src/domain/ports/package-store.ts';
import { type RunningApp, startHttpApp } from '../../../../support/http-app.ts';
import { makeIndex, makePackage } from '../../../../support/image.ts';
import { MemoryPackageStore } from '../../../../support/memory-package-store.ts';
import { type StubbedGateway, stubCredentials, stubGateway } from '../../../../support/ports.ts';
import { ingest, sourceOf } from '../../../../support/source.ts';

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
    app = await startHttpApp({ packages: { get: unused, describe: unused, manifests } });
    client = got.extend({ prefixUrl: app.url, retry: { limit: 0 }, throwHttpErrors: false });
  }

  for (const [what, digest, { bytes, descriptor }] of [
    ['an index', index.digest, index.index],
    ['a manifest that an index names', image.digest, image.manifest],
  ] as const) {
    it(`sends the exact bytes of ${what}, and says all about them`, async () => {
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

  it('asks the registry once, in the repository that is named', async () => {
    for (let times = 0; times < 2; times++) await client(`manifest?digest=${image.digest}&path=modules/jq`);
    sinon.assert.calledOnce(gateway.fetchManifest);
    expect(gateway.fetchManifest.firstCall.args[0].repository).to.match(/modules\/jq$/);
  });

  it('sends manifests that nothing keeps', async () => {
    await app.close();
    await start(new NoPackageStore());
    const { body } = await read(`manifest?digest=${image.digest}`);
    expect(Buffer.compare(body, image.manifest.bytes)).to.equal(0);
  });

  it('answers 304 when the client has it, and asks nobody', async () => {
    const headers = { 'if-none-match': `"${image.digest}"` };
    expect((await client(`manifest?digest=${image.digest}`, { headers })).statusCode).to.equal(304);
    sinon.assert.notCalled(gateway.fetchManifest);
  });

  it('answers 304 to If-None-Match: * only for what exists', async () => {
    const headers = { 'if-none-match': '*' };
    expect((await client(`manifest?digest=${image.digest}`, { headers })).statusCode).to.equal(304);
    const absent = makePackage(7).digest;
    expect((await client(`manifest?digest=${absent}`, { headers })).statusCode).to.equal(404);
  });

  it('sends no byte of a manifest that is not the one of its digest', async () => {
    gateway.fetchManifest.resolves(index.index.bytes);
    const { statusCode, body } = await client(`manifest?digest=${image.digest}`);
    expect(statusCode).to.equal(502);
    expect(body).to.equal('content does not match its digest\n');
  });

  it('sends manifests only, and no other blob of the cache', async () => {
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
