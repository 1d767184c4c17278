import { expect } from 'chai';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { ServiceClient, ServiceError } from '../../../../src/adapters/service/service-client.ts';
import { digestHex } from '../../../../src/domain/descriptor.ts';
import { DigestMismatchError, UpstreamThrottledError } from '../../../../src/domain/errors.ts';
import { DEFAULT_REPOSITORY, parseRepositoryName, parseRepositoryPath } from '../../../../src/domain/reference.ts';
import { Secret } from '../../../../src/domain/credential.ts';
import { encode, makeBlob, makeIndex, makePackage, type TestBlob } from '../../../support/image.ts';
import { rejection } from '../../../support/rejection.ts';
import { CA, serverCertificate } from '../../../support/tls/certificates.ts';

const image = makePackage(200_000);
const request = { digest: image.digest, repository: DEFAULT_REPOSITORY, path: undefined };
const never = new AbortController().signal;
const HEADERS = {
  'content-length': 200_000,
  'repr-digest': `sha-256=:${Buffer.from(digestHex(image.layer.descriptor.digest), 'hex').toString('base64')}:`,
  'cache-status': 'registry-packages-proxy; fwd=miss; stored',
};

describe('ServiceClient', () => {
  let server: Server | undefined;
  let client: ServiceClient | undefined;
  let asked: { method?: string; url?: string; authorization?: string | undefined }[];
  beforeEach(() => {
    asked = [];
    manifests = [image.manifest];
  });
  afterEach(async () => {
    client?.close();
    server?.closeAllConnections();
    await new Promise((resolve) => server?.close(resolve));
  });

  interface How {
    readonly isSecure?: boolean;
    readonly ca?: string;
  }
  async function to(answer: RequestListener, { isSecure = false, ca }: How = {}): Promise<ServiceClient> {
    const listener: RequestListener = (incoming, response) => {
      const { method = '', url = '', headers } = incoming;
      asked.push({ method, url, authorization: headers.authorization });
      answer(incoming, response);
    };
    const listening = isSecure ? createTlsServer(serverCertificate('localhost'), listener) : createServer(listener);
    server = listening;
    await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
    const { port } = listening.address() as AddressInfo;
    client = new ServiceClient({
      origin: new URL(isSecure ? `https://localhost:${String(port)}` : `http://127.0.0.1:${String(port)}`),
      token: new Secret('canary-token'),
      ca,
      idleTimeoutMs: 300,
    });
    return client;
  }
  const fetch = (service: ServiceClient, onBytes: (bytes: number) => void = () => undefined) =>
    service.fetch(request, onBytes, never);
  const whole =
    (headers: object = {}, body: Uint8Array = image.layer.bytes): RequestListener =>
    ({ url = '' }, response) => {
      if (url.startsWith('/manifest')) response.writeHead(200).end(manifestOf(url));
      else response.writeHead(200, { ...HEADERS, ...headers }).end(body);
    };
  let manifests: readonly TestBlob[];
  const manifestOf = (url: string): Uint8Array | undefined => {
    const digest = new URL(url, 'http://a').searchParams.get('digest');
    return manifests.find(({ descriptor }) => descriptor.digest === digest)?.bytes;
  };

  it('sends the request of a node with its token', async () => {
    const service = await to(whole());
    const repository = parseRepositoryName('registry.example:5000/modules');
    const path = parseRepositoryPath('ingress/nginx');
    await service.fetch({ ...request, repository, path }, () => undefined, never);
    const query = `digest=${encodeURIComponent(image.digest)}&repository=registry.example%3A5000%2Fmodules&path=ingress%2Fnginx`;
    const expected = ['/package', '/manifest'].map((endpoint) => ({ method: 'GET', url: `${endpoint}?${query}` }));
    expect(asked).to.deep.equal(expected.map((each) => ({ ...each, authorization: 'Bearer canary-token' })));
  });

  it('counts the bytes, and reports whether the package was cached', async () => {
    let bytes = 0;
    const count = (more: number): void => {
      bytes += more;
    };
    expect(await fetch(await to(whole()), count)).to.equal(false);
    expect(bytes).to.equal(200_000);
  });

  it('reports a package that was cached before', async () => {
    expect(await fetch(await to(whole({ 'cache-status': 'registry-packages-proxy; hit' })))).to.equal(true);
  });

  it('rejects for a package that the service could not cache', async () => {
    const status = 'registry-packages-proxy; fwd=bypass; detail=store-full';
    const error = await rejection(fetch(await to(whole({ 'cache-status': status }))));
    expect(error.message).to.equal('the service did not cache it (fwd=bypass; detail=store-full)');
  });

  it('verifies the bytes that it receives', async () => {
    const service = await to(
      whole(
        {},
        image.layer.bytes.map((byte, at) => (at === 7 ? byte ^ 1 : byte)),
      ),
    );
    expect(await rejection(fetch(service))).to.be.instanceOf(DigestMismatchError);
  });

  describe('that receives a forged package with matching headers', () => {
    const forged = makePackage(200_000, 7);
    const headers = {
      'repr-digest': `sha-256=:${Buffer.from(digestHex(forged.layer.descriptor.digest), 'hex').toString('base64')}:`,
    };
    const fetchForged = async () => rejection(fetch(await to(whole(headers, forged.layer.bytes))));

    it('refuses it by the manifest', async () => {
      expect((await fetchForged()).message).to.include('another package than the one that the manifest names');
    });

    it('refuses it with a forged manifest', async () => {
      manifests = [{ ...image.manifest, bytes: forged.manifest.bytes }];
      expect(await fetchForged()).to.be.instanceOf(DigestMismatchError);
    });

    it('refuses it with a manifest that has no end', async () => {
      manifests = [{ ...image.manifest, bytes: new Uint8Array(5 * 1024 * 1024) }];
      expect((await fetchForged()).message).to.include('more than 4 MiB');
    });

    it('refuses it from a service without /manifest', async () => {
      const service = await to((incoming, response) => {
        if (incoming.url?.startsWith('/manifest') === true) response.writeHead(404).end('page not found');
        else whole(headers, forged.layer.bytes)(incoming, response);
      });
      expect((await rejection(fetch(service))).message).to.include('has no /manifest');
    });
  });

  it('accepts any image of an index and of an index within it, and does not need all of them', async () => {
    const inner = makeIndex([{ image, platform: { os: 'linux', architecture: 'arm64' } }]);
    const absent = makePackage(1, 2).manifest.descriptor;
    const outer = makeBlob(
      inner.index.descriptor.mediaType,
      encode({ ...JSON.parse(Buffer.from(inner.index.bytes).toString()), manifests: [absent, inner.index.descriptor] }),
    );
    manifests = [outer, inner.index, image.manifest];
    const service = await to((incoming, response) => {
      const { url = '' } = incoming;
      if (url.startsWith('/manifest') && manifestOf(url) === undefined) response.writeHead(404).end();
      else whole()(incoming, response);
    });
    const { digest } = outer.descriptor;
    expect(await service.fetch({ ...request, digest }, () => undefined, never)).to.equal(false);
  });

  it('refuses an answer without a digest', async () => {
    const error = await rejection(fetch(await to(whole({ 'repr-digest': 'none' }))));
    expect(error).to.be.instanceOf(ServiceError);
    expect(error.message).to.include('the URL may not be that of a registry-packages-proxy');
  });

  it('reports the message of the service in one line', async () => {
    const service = await to((_request, response) => {
      response.writeHead(404).end(`package\r\n\u001b[31mnot found${'x'.repeat(1000)}`);
    });
    const error = await rejection(fetch(service));
    expect(error).to.be.instanceOf(ServiceError);
    expect(error.message).to.match(/^404 package \[31mnot foundx{200,}$/);
  });

  for (const [status, header, seconds] of [
    [503, '7', 7],
    [429, '100000', 60],
  ] as const) {
    it(`reports the Retry-After of a ${String(status)}, at most a minute`, async () => {
      const service = await to((_request, response) => response.writeHead(status, { 'retry-after': header }).end());
      const error = await rejection(fetch(service));
      expect(error).to.be.instanceOf(UpstreamThrottledError).and.to.have.property('retryAfterSeconds', seconds);
    });
  }

  it('reports a connection that breaks or cannot be made', async () => {
    const service = await to((_request, response) => {
      response.writeHead(200, HEADERS).write(image.layer.bytes.subarray(0, 100_000), () => response.destroy());
    });
    expect((await rejection(fetch(service))).message).to.equal('connection to the service failed: ECONNRESET');
    await new Promise((resolve) => server?.close(resolve));
    expect((await rejection(fetch(service))).message).to.equal('connection to the service failed: ECONNREFUSED');
  });

  it('has a time limit for an answer', async () => {
    const silent = await to(() => undefined);
    expect((await rejection(fetch(silent))).message).to.equal('no bytes came for 0.3 s');
  });

  it('has a time limit for the rest of an answer', async () => {
    const slow = await to((_request, response) => response.writeHead(200, HEADERS).write('some'));
    expect((await rejection(fetch(slow))).message).to.equal('no bytes came for 0.3 s');
  });

  it('ends when it is interrupted', async () => {
    const interruption = new AbortController();
    const reason = new Error('enough');
    const service = await to((_request, response) => {
      response.writeHead(200, HEADERS).write('some', () => {
        interruption.abort(reason);
      });
    });
    expect(await rejection(service.fetch(request, () => undefined, interruption.signal))).to.equal(reason);
  });

  it("trusts the server's own certificate when that is given", async () => {
    await fetch(await to(whole(), { isSecure: true, ca: serverCertificate('localhost').cert }));
  });

  it("trusts no other server's certificate", async () => {
    const stranger = await to(whole(), { isSecure: true, ca: serverCertificate('elsewhere').cert });
    expect(await rejection(fetch(stranger))).to.be.instanceOf(ServiceError);
  });

  it('trusts a given CA', async () => {
    await fetch(await to(whole(), { isSecure: true, ca: CA }));
  });

  it('trusts no certificate without a trusted issuer', async () => {
    const error = await rejection(fetch(await to(whole(), { isSecure: true })));
    expect(error.message).to.match(/UNABLE_TO_VERIFY|SELF_SIGNED|UNABLE_TO_GET_ISSUER/);
  });

  describe('has', () => {
    const answers = (status: number, headers: object): RequestListener => {
      return (_request, response) => response.writeHead(status, { ...headers }).end();
    };
    it('checks a package without downloading it', async () => {
      const service = await to(answers(200, { 'cache-status': 'registry-packages-proxy; hit' }));
      expect(await service.has(request, never)).to.equal(true);
      expect(asked.map(({ method }) => method)).to.deep.equal(['HEAD']);
    });
    it('reports a package that is not cached', async () => {
      const service = await to(answers(200, { 'cache-status': 'registry-packages-proxy; fwd=miss' }));
      expect(await service.has(request, never)).to.equal(false);
    });
    it('accepts the report of the service if the sidecar refuses HEAD', async () => {
      expect(await (await to(answers(403, {}))).has(request, never)).to.equal(true);
    });
    it('reports other failures', async () => {
      expect((await rejection((await to(answers(502, {}))).has(request, never))).message).to.equal('502');
    });
  });
});
