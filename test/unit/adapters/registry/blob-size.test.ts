import { expect } from 'chai';
import { UpstreamDeniedError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { FakeRegistry, type LoggedRequest } from '../../../support/fake-registry.ts';
import { makePackage } from '../../../support/image.ts';
import { makeRegistryGateway } from '../../../support/registry-gateway.ts';
import { rejection } from '../../../support/rejection.ts';

const never = new AbortController().signal;

describe('readBlobSize', () => {
  const image = makePackage(50_000);
  const { digest } = image.layer.descriptor;
  let registry: FakeRegistry;

  beforeEach(async () => {
    registry = await FakeRegistry.start();
    registry.publish(image);
  });
  afterEach(() => registry.close());

  const ask = (): Promise<number> =>
    makeRegistryGateway({ retryTimeoutMs: 0 }).blobSize(registry.upstream(), digest, never);
  const methods = (): string[] => registry.requests('/blobs/').map(({ method }) => method);
  const isHead = ({ method }: LoggedRequest): boolean => method === 'HEAD';

  it('sends HEAD, and downloads nothing', async () => {
    expect(await ask()).to.equal(50_000);
    expect(methods()).to.deep.equal(['HEAD']);
  });

  it('requests one byte if the answer to HEAD has no length, or HEAD is refused or not supported', async () => {
    for (const [status, headers] of [
      [200, { 'transfer-encoding': 'chunked' }],
      [200, { 'content-encoding': 'gzip', 'content-length': '7' }],
      [403, {}],
      [405, {}],
    ] as const) {
      registry.script((request, response) => {
        if (!isHead(request)) return false;
        response.writeHead(status, headers).end();
        return true;
      });
      expect(await ask(), String(status)).to.equal(50_000);
      expect(registry.log.at(-1)?.headers.range).to.equal('bytes=0-0');
      await registry.close();
      registry = await FakeRegistry.start();
      registry.publish(image);
    }
  });

  it('requests one byte if the storage of a redirect refuses HEAD, as S3 does for a URL that is signed for GET', async () => {
    const storage = await FakeRegistry.start();
    storage.publish(image);
    storage.script((request, response) => {
      if (!isHead(request)) return false;
      response.writeHead(403).end();
      return true;
    });
    registry.script(({ url }, response) => {
      response.writeHead(307, { location: `${storage.origin}${url}` }).end();
      return true;
    });
    try {
      expect(await ask()).to.equal(50_000);
    } finally {
      await storage.close();
    }
  });

  it('uses the length of a server that ignores ranges', async () => {
    registry.script((request, response) => {
      if (isHead(request)) response.writeHead(405).end();
      else response.writeHead(200, { 'content-length': 50_000 }).end(image.layer.bytes);
      return true;
    });
    expect(await ask()).to.equal(50_000);
  });

  it('finds the size of an empty blob', async () => {
    registry.script((request, response) => {
      response.writeHead(isHead(request) ? 405 : 416, isHead(request) ? {} : { 'content-range': 'bytes */0' }).end();
      return true;
    });
    expect(await ask()).to.equal(0);
  });

  it('rejects with the error of the registry, and for an answer without a size', async () => {
    for (const [status, headers, type] of [
      [401, {}, UpstreamDeniedError],
      [403, {}, UpstreamDeniedError],
      [206, { 'content-range': 'bytes 0-0/*' }, UpstreamUnavailableError],
      [200, { 'transfer-encoding': 'chunked' }, UpstreamUnavailableError],
    ] as const) {
      registry.script((_request, response) => {
        response.writeHead(status, headers).end();
        return true;
      });
      expect(await rejection(ask()), String(status)).to.be.instanceOf(type);
      await registry.close();
      registry = await FakeRegistry.start();
    }
  });
});
