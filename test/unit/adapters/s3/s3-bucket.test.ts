import { expect } from 'chai';
import { Secret } from '../../../../src/domain/credential.ts';
import type { BucketTrouble } from '../../../../src/adapters/s3/s3-bucket.ts';
import { digestOf } from '../../../../src/domain/descriptor.ts';
import {
  DigestMismatchError,
  PackageUnknownError,
  UpstreamDeniedError,
  UpstreamThrottledError,
  UpstreamTimeoutError,
  UpstreamUnavailableError,
} from '../../../../src/domain/errors.ts';
import { ACCESS_KEY, checksumOf, FakeBucket, refuse } from '../../../support/fake-bucket.ts';
import { FakeProxy } from '../../../support/fake-proxy.ts';
import { bytesOf, makeBlob, makePackage } from '../../../support/image.ts';
import { UPSTREAM } from '../../../support/ports.ts';
import { rejection } from '../../../support/rejection.ts';
import { keysOf, makeBucket, makeS3Gateway } from '../../../support/s3-gateway.ts';
import { chunksOf } from '../../../support/source.ts';

const never = new AbortController().signal;
const { descriptor, bytes } = makeBlob('application/octet-stream', bytesOf(1_500_000));
const { digest, size } = descriptor;
const open = (): AsyncIterable<Uint8Array> => chunksOf(bytes, 100_000);

describe('S3Bucket', () => {
  let server: FakeBucket;
  let troubles: BucketTrouble[];
  beforeEach(async () => {
    server = await FakeBucket.start();
    troubles = [];
  });
  afterEach(() => server.close());

  const bucket = (overrides: Partial<Parameters<typeof makeBucket>[0]> = {}): ReturnType<typeof makeBucket> =>
    makeBucket({ endpoint: server.endpoint, onTrouble: (trouble) => troubles.push(trouble), ...overrides });

  it('sends the SHA-256 of an object as a signed header and as its checksum, without a condition', async () => {
    await bucket({ prefix: 'a/' }).put(digest, { size, open }, never);
    expect(digestOf(server.get(digest, 'a/') ?? Buffer.alloc(0))).to.equal(digest);
    const [{ method, headers } = server.log[0] ?? expect.fail()] = server.log;
    expect(method).to.equal('PUT');
    expect(headers).to.deep.include({
      'content-length': String(size),
      'x-amz-content-sha256': digest.slice(7),
      'x-amz-checksum-sha256': checksumOf(bytes),
    });
    expect(headers).not.to.have.any.keys('if-none-match', 'transfer-encoding', 'expect');
    expect(headers.authorization).to.match(/SignedHeaders=host;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date,/);
  });

  it('rejects with the code of a server that refuses wrong bytes', async () => {
    const other = bytesOf(size, 7);
    const error = await rejection(bucket().put(digest, { size, open: () => chunksOf(other) }, never));
    expect((error.cause as Error).message).to.match(/^object from 127\.0\.0\.1:\d+: status 400 \w+$/);
    expect(server.get(digest)).to.equal(undefined);
  });

  it('distinguishes the right object, one with another size or checksum, and a missing one', async () => {
    const states = async (): Promise<string> => bucket().stateOf(digest, size, never);
    expect(await states()).to.equal('absent');
    server.put(digest, bytes);
    expect(await states()).to.equal('there');
    server.put(digest, bytes, false);
    expect(await states()).to.equal('there');
    server.put(digest, bytes.subarray(1), false);
    expect(await states()).to.equal('other');
    server.put(digest, bytesOf(size, 9));
    expect(await states()).to.equal('other');
    expect(new Set(server.log.map(({ method }) => method))).to.deep.equal(new Set(['HEAD']));
  });

  it('refuses an object with another size or checksum before its first byte', async () => {
    const gateway = makeS3Gateway(bucket());
    for (const [wrong, hasChecksum, expected] of [
      [bytesOf(size, 9), true, DigestMismatchError],
      [bytes.subarray(1), false, UpstreamUnavailableError],
    ] as const) {
      server.put(digest, wrong, hasChecksum);
      expect(await rejection(gateway.fetchBlob(UPSTREAM, descriptor, 0, never))).to.be.instanceOf(expected);
    }
  });

  it('tells whether an object exists', async () => {
    const seen: boolean[] = [];
    const gateway = makeS3Gateway(bucket(), (_digest, isThere) => seen.push(isThere));
    await rejection(gateway.fetchBlob(UPSTREAM, descriptor, 0, never));
    server.put(digest, bytes.subarray(1), false);
    await rejection(gateway.fetchBlob(UPSTREAM, descriptor, 0, never));
    server.put(digest, bytesOf(size, 9));
    await rejection(gateway.fetchBlob(UPSTREAM, descriptor, 0, never));
    server.put(digest, bytes);
    for await (const chunk of await gateway.fetchBlob(UPSTREAM, descriptor, 0, never)) expect(chunk).not.to.equal(null);
    expect(seen).to.deep.equal([false, false, false, true]);
  });

  it('reports refused keys and a missing bucket, and no missing object', async () => {
    const gateway = makeS3Gateway(bucket());
    expect(await rejection(gateway.fetchBlob(UPSTREAM, descriptor, 0, never))).to.be.instanceOf(PackageUnknownError);
    expect(troubles).to.deep.equal([]);
    const absent = await rejection(makeS3Gateway(bucket({ name: 'none' })).fetchBlob(UPSTREAM, descriptor, 0, never));
    expect(absent).to.be.instanceOf(UpstreamUnavailableError);
    const stranger = keysOf('STRANGER', 'canary-secret');
    const denied = await rejection(makeS3Gateway(bucket({ keys: stranger })).fetchBlob(UPSTREAM, descriptor, 0, never));
    expect(denied).to.be.instanceOf(UpstreamDeniedError);
    expect(troubles.map(({ code }) => code)).to.deep.equal(['NoSuchBucket', 'InvalidAccessKeyId']);
    expect(JSON.stringify(troubles.map(({ error }) => [error.message, error.cause]))).not.to.include('canary');
  });

  it('uses replaced keys at the next request', async () => {
    let id = 'OLD';
    const refused: string[] = [];
    const keys = {
      current: () => Promise.resolve({ accessKeyId: id, secretAccessKey: new Secret('canary-secret') }),
      refused: () => refused.push(id),
    };
    const checked = bucket({ keys });
    await rejection(checked.stateOf(digest, size, never));
    id = ACCESS_KEY;
    expect(await checked.stateOf(digest, size, never)).to.equal('absent');
    expect(refused).to.deep.equal(['OLD']);
  });

  it('sends a session token as a signed header', async () => {
    const keys = {
      current: () =>
        Promise.resolve({
          accessKeyId: ACCESS_KEY,
          secretAccessKey: new Secret('canary'),
          sessionToken: new Secret('canary-session'),
        }),
      refused: () => undefined,
    };
    await bucket({ keys }).stateOf(digest, size, never);
    expect(server.log[0]?.headers).to.have.property('x-amz-security-token', 'canary-session');
    expect(server.log[0]?.headers.authorization).to.include('x-amz-security-token');
  });

  it('follows no redirect of a bucket', async () => {
    server.script((_request, response) => {
      response.writeHead(307, { location: 'http://169.254.169.254/latest/meta-data/' }).end();
      return true;
    });
    const asked = makeBucket({ endpoint: server.endpoint }).sizeOf(digestOf(Buffer.from('a')), never);
    expect(await rejection(asked)).to.be.instanceOf(UpstreamUnavailableError);
    expect(server.log).to.have.lengthOf(1);
  });

  it('requests the bucket itself', async () => {
    await bucket().check(never);
    const absent = await rejection(bucket({ name: 'none' }).check(never));
    expect((absent.cause as Error).message).to.match(/^bucket from 127\.0\.0\.1:\d+: status 404 NoSuchBucket$/);
  });

  for (const [what, status, code, expected] of [
    ['asks for patience', 503, 'SlowDown', UpstreamThrottledError],
    ['fails', 500, 'InternalError', UpstreamUnavailableError],
    ['leads elsewhere', 301, 'PermanentRedirect', UpstreamUnavailableError],
    ['has keys that have ended', 400, 'ExpiredToken', UpstreamDeniedError],
    ['knows no such keys', 404, 'InvalidAccessKeyId', UpstreamDeniedError],
  ] as const) {
    it(`reports the code of a server that ${what}, and follows no redirect`, async () => {
      server.script((_request, response) => {
        response.setHeader('location', 'http://127.0.0.1:1/');
        refuse(response, status, code);
        return true;
      });
      const error = await rejection(makeS3Gateway(bucket()).fetchManifest(UPSTREAM, digest, never));
      expect(error).to.be.instanceOf(expected);
      expect((error.cause as Error).message).to.include(`status ${String(status)} ${code}`);
      expect(server.log).to.have.lengthOf(1);
    });
  }

  it('ends a PUT without an answer, and one that is aborted', async () => {
    server.script(() => true);
    expect(await rejection(bucket().put(digest, { size, open }, never))).to.be.instanceOf(UpstreamTimeoutError);
    const signal = AbortSignal.abort(new Error('stopping'));
    expect(await rejection(bucket().put(digest, { size, open }, signal))).to.have.property('message', 'stopping');
  });

  it('uses a forward proxy with the bucket in the host name', async () => {
    const proxy = await FakeProxy.http(Number(server.endpoint.port));
    try {
      const far = bucket({
        endpoint: new URL('https://s3.example'),
        pathStyle: false,
        environment: { HTTPS_PROXY: `http://${proxy.host}` },
      });
      // The fake speaks no TLS, so it ends behind the CONNECT.
      await rejection(far.stateOf(digest, size, never));
      expect(proxy.targets).to.deep.equal(['packages.s3.example:443']);
    } finally {
      await proxy.close();
    }
  });

  it('refuses a manifest with a wrong digest', async () => {
    const { digest: wanted } = makePackage(10);
    server.put(wanted, Buffer.from('{}'), false);
    const error = await rejection(makeS3Gateway(bucket()).fetchManifest(UPSTREAM, wanted, never));
    expect(error).to.have.property('code', 'DIGEST_MISMATCH');
  });
});
