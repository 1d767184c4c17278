import { expect } from 'chai';
import { type AddressInfo, createServer } from 'node:net';
import { Readable } from 'node:stream';
import { isSameOrSafer, isSigned, redirectOf } from '../../../../../src/adapters/registry/transport/http-client.ts';
import type { HttpResponse } from '../../../../../src/adapters/registry/transport/http-message.ts';
import { UpstreamDeniedError, UpstreamUnavailableError } from '../../../../../src/domain/errors.ts';
import { parseUpstream } from '../../../../../src/domain/upstream.ts';
import { BASIC, type FakeRegistry, PASSWORD, USERNAME } from '../../../../support/fake-registry.ts';
import { makePackage } from '../../../../support/image.ts';
import { behindGateway } from '../../../../support/behind-gateway.ts';
import { makeRegistryGateway } from '../../../../support/registry-gateway.ts';
import { rejection } from '../../../../support/rejection.ts';
import { CA } from '../../../../support/tls/certificates.ts';

const image = makePackage(200_000);

describe('HttpClient, behind OciRegistryGateway,', () => {
  const { start, manifest, blob, afterTest } = behindGateway(image);

  /** Sends requests for blobs elsewhere as soon as they are allowed, each to the next location, the last of them again. */
  function redirectBlobs(registry: FakeRegistry, ...locations: string[]): void {
    registry.script(({ url, headers }, response) => {
      if (!url.includes('/blobs/') || (registry.wantsAuthorization && headers.authorization === undefined))
        return false;
      const location = locations.length > 1 ? locations.shift() : locations[0];
      response.writeHead(307, { location }).end();
      return true;
    });
  }

  const shownTo = (registry: FakeRegistry): (string | undefined)[] =>
    registry.log.map(({ headers }) => headers.authorization);

  it('answers the challenge of another host with its own anonymous token, and keeps the token of the registry', async () => {
    const [registry, storage] = [await start({ auth: 'bearer' }), await start({ auth: 'bearer' })];
    storage.tokenPrefix = 'stranger-';
    redirectBlobs(registry, `${storage.origin}/v2/deckhouse/ee/blobs/${image.layer.descriptor.digest}`);
    const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
    for (let i = 0; i < 2; i++) {
      expect(Buffer.compare(await blob(gateway, upstream), image.layer.bytes)).to.equal(0);
    }
    expect(registry.requests('/token')).to.have.lengthOf(1);
    expect(shownTo(storage)).to.deep.equal([undefined, undefined, 'Bearer stranger-1', 'Bearer stranger-1']);
  });

  for (const [what, headers] of [
    ['a password', { 'www-authenticate': 'Basic realm="canary"' }],
    ['something that is not spoken here', { 'www-authenticate': 'Negotiate' }],
    ['nothing that it names', {}],
    ['a token of a server that must not be asked', { 'www-authenticate': 'Bearer realm="http://169.254.169.254/"' }],
  ] as const) {
    it(`sends no credential to another host that requires ${what}, and names that host in the error`, async () => {
      const [registry, storage] = [await start({ auth: 'bearer' }), await start()];
      storage.failTimes('/', { status: 401, headers }, { status: 401, headers });
      redirectBlobs(registry, `${storage.origin}/bucket`);
      const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
      const error = await rejection(blob(gateway, upstream));
      expect(error).to.be.instanceOf(UpstreamUnavailableError);
      expect(error.cause).to.have.property(
        'message',
        `blob from ${storage.host} (redirected by ${registry.host}): status 401`,
      );
      expect(shownTo(storage)).to.deep.equal([undefined, undefined]);
      // The token of the registry is still valid.
      await manifest(gateway, upstream);
      expect(registry.requests('/token')).to.have.lengthOf(1);
    });
  }

  it('requests another signed URL once after a 401 of the storage', async () => {
    const [registry, storage] = [await start({ auth: 'basic' }), await start()];
    storage.failTimes('expired', { status: 401 });
    const signed = `/v2/deckhouse/ee/blobs/${image.layer.descriptor.digest}`;
    redirectBlobs(registry, `${storage.origin}/expired`, `${storage.origin}${signed}`);
    expect(Buffer.compare(await blob(makeRegistryGateway(), registry.upstream()), image.layer.bytes)).to.equal(0);
    expect(shownTo(storage)).to.deep.equal([undefined, undefined]);
  });

  for (const auth of ['basic', 'bearer'] as const) {
    it(`sends the credential to the same host with https after a challenge (${auth})`, async () => {
      const [plain, secure] = [await start(), await start({ tls: 'localhost', auth })];
      plain.script(({ url }, response) => {
        response.writeHead(301, { location: `${secure.origin}${url}` }).end();
        return true;
      });
      const upstream = plain.upstream({ auth: { username: USERNAME, password: PASSWORD }, ca: CA });
      expect(Buffer.compare(await blob(makeRegistryGateway(), upstream), image.layer.bytes)).to.equal(0);
      expect(shownTo(plain)).to.deep.equal([undefined]);
      expect(shownTo(secure).at(-1)).to.match(auth === 'basic' ? /^Basic / : /^Bearer /);
    });
  }

  it('reports a refused credential if the same host with https refuses it', async () => {
    const [plain, secure] = [await start(), await start({ tls: 'localhost', auth: 'basic' })];
    plain.failTimes('/', { status: 308, headers: { location: `${secure.origin}/v2/deckhouse/ee/blobs/x` } });
    const upstream = plain.upstream({ auth: { username: USERNAME, password: 'canary-wrong' }, ca: CA });
    expect(await rejection(blob(makeRegistryGateway(), upstream))).to.be.instanceOf(UpstreamDeniedError);
  });

  for (const [what, from, to] of [
    ['another port by http', undefined, undefined],
    ['another port by https', 'localhost', 'localhost'],
  ] as const) {
    it(`sends the credential to no service at ${what} of the same host`, async () => {
      const [registry, other] = [
        await start({ auth: 'basic', ...(from && { tls: from }) }),
        await start({ auth: 'basic', ...(to && { tls: to }) }),
      ];
      redirectBlobs(registry, `${other.origin}/v2/deckhouse/ee/blobs/${image.layer.descriptor.digest}`);
      await rejection(blob(makeRegistryGateway(), registry.upstream()));
      expect(shownTo(other)).to.deep.equal([undefined, undefined]);
    });
  }

  it('sends the credential to a host in the settings after a challenge', async () => {
    const [registry, renamed] = [await start({ auth: 'basic' }), await start({ auth: 'basic' })];
    redirectBlobs(registry, `${renamed.origin}/v2/deckhouse/ee/blobs/${image.layer.descriptor.digest}`);
    const gateway = makeRegistryGateway({ trustedRealms: [renamed.host] });
    expect(Buffer.compare(await blob(gateway, registry.upstream()), image.layer.bytes)).to.equal(0);
    expect(shownTo(renamed)).to.deep.equal([undefined, BASIC]);
  });

  it('sends the token of the registry only to the registry if another host redirects back to it', async () => {
    const [registry, other] = [await start({ auth: 'bearer' }), await start()];
    const leads = [`${other.origin}/between`];
    registry.script(({ url, headers }, response) => {
      const location = url.includes('/blobs/') && headers.authorization !== undefined ? leads.shift() : undefined;
      if (location === undefined) return false;
      response.writeHead(302, { location }).end();
      return true;
    });
    other.script((_request, response) => {
      const location = `${registry.origin}/v2/deckhouse/ee/blobs/${image.layer.descriptor.digest}`;
      response.writeHead(302, { location }).end();
      return true;
    });
    expect(Buffer.compare(await blob(makeRegistryGateway(), registry.upstream()), image.layer.bytes)).to.equal(0);
    expect(shownTo(other)).to.deep.equal([undefined]);
    expect(shownTo(registry).at(-1)).to.equal('Bearer canary-token-1');
  });

  for (const [what, query, shown] of [
    ['is not shown to a signed URL', '?X-Amz-Signature=canary', [undefined]],
    ['is not shown to a signed URL of Azure', '?se=1&sig=canary', [undefined]],
    ['is left away where the storage refuses it beside an unknown proof', '?proof=canary', [BASIC, undefined]],
  ] as const) {
    it(`of a storage behind the registry's own name ${what}`, async () => {
      const registry = await start({ auth: 'basic' });
      registry.script(({ url, headers }, response) => {
        if (!url.startsWith('/bucket')) return false;
        if (headers.authorization !== undefined) response.writeHead(400).end();
        else response.end(image.layer.bytes);
        return true;
      });
      redirectBlobs(registry, `/bucket${query}`);
      expect(Buffer.compare(await blob(makeRegistryGateway(), registry.upstream()), image.layer.bytes)).to.equal(0);
      expect(registry.requests('/bucket').map(({ headers }) => headers.authorization)).to.deep.equal(shown);
    });
  }

  it('repeats a request to the target of a redirect without another request to the registry', async () => {
    const [registry, storage] = [await start(), await start()];
    storage.failTimes('/', { status: 503 });
    redirectBlobs(registry, `${storage.origin}/v2/deckhouse/ee/blobs/${image.layer.descriptor.digest}`);
    await blob(makeRegistryGateway(), registry.upstream());
    expect(registry.log).to.have.lengthOf(1);
    expect(storage.log).to.have.lengthOf(2);
  });

  it('requests another target from the registry if one keeps failing', async () => {
    const [registry, dead, storage] = [await start(), await start(), await start()];
    const { origin } = dead;
    await dead.close();
    const path = `/v2/deckhouse/ee/blobs/${image.layer.descriptor.digest}`;
    redirectBlobs(registry, `${origin}${path}`, `${storage.origin}${path}`);
    await blob(makeRegistryGateway(), registry.upstream());
    expect(registry.log).to.have.lengthOf(2);
  });

  it('works with a server that closes each connection without announcing it', async () => {
    const server = createServer((socket) => {
      socket
        .on('error', () => undefined)
        .once('data', (request) => {
          const isFirst = request.toString('latin1').startsWith('GET /v2/');
          const size = String(image.layer.bytes.byteLength);
          socket.write(
            isFirst
              ? 'HTTP/1.1 307 X\r\nLocation: /s3/x\r\nContent-Length: 0\r\n\r\n'
              : `HTTP/1.1 200 X\r\nContent-Length: ${size}\r\n\r\n`,
          );
          socket.end(isFirst ? '' : image.layer.bytes);
        });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    afterTest(() => new Promise((resolve) => server.close(resolve)));
    const { port } = server.address() as AddressInfo;
    const upstream = parseUpstream({ repo: `127.0.0.1:${String(port)}/a`, scheme: 'http' });
    expect(
      Buffer.compare(await blob(makeRegistryGateway({ retryTimeoutMs: 0 }), upstream), image.layer.bytes),
    ).to.equal(0);
  });

  for (const [what, location, cause] of [
    ['no place at all', undefined, 'status 307'],
    ['no URL', 'http://', 'ERR_INVALID_REDIRECT'],
    ['what is not HTTP', 'ftp://127.0.0.1/x', 'ERR_INVALID_REDIRECT'],
  ] as const) {
    it(`reports a redirect to ${what}`, async () => {
      const registry = await start();
      registry.failTimes('/blobs/', { status: 307, ...(location && { headers: { location } }) });
      const error = await rejection(blob(makeRegistryGateway(), registry.upstream()));
      expect(error).to.be.instanceOf(UpstreamUnavailableError);
      expect(error.cause).to.have.property('message').that.includes(cause).and.includes(registry.host);
    });
  }

  it('follows redirects, and sends no authorization to another origin', async () => {
    const [registry, storage] = [await start({ auth: 'basic' }), await start()];
    storage.script(({ url, headers }, response) => {
      // S3 also refuses a second authorization in addition to the signed URL.
      if (headers.authorization !== undefined) response.writeHead(400).end();
      else response.end(url.includes('signature=canary') ? image.layer.bytes : '');
      return true;
    });
    const location = `${storage.origin}/bucket?signature=canary`;
    registry.script(({ url, headers }, response) => {
      if (!url.includes('/blobs/') || headers.authorization === undefined) return false;
      response.writeHead(307, { location }).end();
      return true;
    });
    const body = await blob(makeRegistryGateway(), registry.upstream());
    expect(Buffer.compare(body, image.layer.bytes)).to.equal(0);
    expect(storage.log[0]?.headers).not.to.have.property('authorization');
  });

  it('sends the trace headers to the registry, and to no other origin', async () => {
    const traceHeaders = (): Record<string, string> => ({ traceparent: '00-4bf9', tracestate: 'rojo=1' });
    const [registry, storage] = [await start({ auth: 'bearer' }), await start()];
    const leads = [`/elsewhere/blobs/${image.layer.descriptor.digest}`, storage.origin];
    registry.script(({ url, headers }, response) => {
      if (!url.includes('/blobs/') || headers.authorization === undefined) return false;
      response.writeHead(307, { location: leads.shift() }).end();
      return true;
    });
    storage.script((_request, response) => {
      response.end(image.layer.bytes);
      return true;
    });
    const gateway = makeRegistryGateway({ traceHeaders });
    const upstream = registry.upstream();
    await manifest(gateway, upstream);
    await blob(gateway, upstream);
    expect(registry.log.map(({ url }) => url.split(/[/?]/)[1])).to.deep.equal(['v2', 'token', 'v2', 'v2', 'elsewhere']);
    for (const { headers } of registry.log) expect(headers).to.include(traceHeaders());
    expect(storage.log[0]?.headers).not.to.have.any.keys('traceparent', 'tracestate');
  });

  for (const [status, refusals, asked] of [
    [403, 1, 2],
    [400, 1, 2],
    [403, 9, 2],
  ] as const) {
    it(`requests another signed URL once after a ${String(status)} of the storage (of ${String(refusals)})`, async () => {
      const [registry, storage] = [await start(), await start()];
      let refused = 0;
      storage.script((_request, response) => {
        if (refused++ < refusals) response.writeHead(status).end();
        else response.end(image.layer.bytes);
        return true;
      });
      registry.script(({ url }, response) => {
        if (!url.includes('/blobs/')) return false;
        response.writeHead(307, { location: `${storage.origin}/bucket` }).end();
        return true;
      });
      const outcome = await blob(makeRegistryGateway(), registry.upstream()).catch((error: unknown) => error);
      if (refusals === 1) expect(Buffer.compare(outcome as Buffer, image.layer.bytes)).to.equal(0);
      else expect(outcome).to.be.instanceOf(UpstreamUnavailableError);
      expect(storage.log).to.have.lengthOf(asked);
    });
  }

  it('refuses a redirect from https to http', async () => {
    const [registry, plain] = [await start({ tls: 'localhost' }), await start()];
    registry.failTimes('/blobs/', { status: 302, headers: { location: `${plain.origin}/x` } });
    const error = await rejection(blob(makeRegistryGateway(), registry.upstream()));
    expect(error)
      .to.be.instanceOf(UpstreamUnavailableError)
      .with.nested.property('cause.message')
      .that.includes('ERR_INSECURE_REDIRECT');
    expect(plain.log).to.deep.equal([]);
  });

  for (const location of [
    'http://169.254.169.254/latest/meta-data/',
    'http://[::ffff:a9fe:a9fe]/',
    'http://2852039166/',
  ]) {
    it(`refuses a redirect to ${location} without connecting to it`, async () => {
      const registry = await start();
      registry.failTimes('/blobs/', { status: 302, headers: { location } });
      const error = await rejection(blob(makeRegistryGateway(), registry.upstream()));
      expect(error).to.have.nested.property('cause.message').that.includes('ERR_FORBIDDEN_ADDRESS');
    });
  }

  it('limits the number of redirects', async () => {
    const registry = await start();
    registry.script(({ url }, response) => {
      response.writeHead(302, { location: url }).end();
      return true;
    });
    expect(await rejection(blob(makeRegistryGateway(), registry.upstream()))).to.be.instanceOf(
      UpstreamUnavailableError,
    );
    expect(registry.log).to.have.lengthOf(6);
  });
});

const from = new URL('https://registry.example/v2/a/blobs/sha256:0');

function answer(status: number, location?: string): HttpResponse {
  const asked = { operation: 'blob', host: 'registry.example' } as const;
  const headers = location === undefined ? {} : { location };
  return { asked, status, headers, body: Readable.from([]) };
}

describe('redirectOf', () => {
  for (const [location, to] of [
    ['https://storage.example/x?y=%2F', 'https://storage.example/x?y=%2F'],
    ['/bucket/x', 'https://registry.example/bucket/x'],
    ['x', 'https://registry.example/v2/a/blobs/x'],
    ['//storage.example/x', 'https://storage.example/x'],
    ['?again', 'https://registry.example/v2/a/blobs/sha256:0?again'],
    [' HTTPS://Storage.Example:443/x ', 'https://storage.example/x'],
    [Buffer.from('/пакет').toString('latin1'), 'https://registry.example/%D0%BF%D0%B0%D0%BA%D0%B5%D1%82'],
  ] as const) {
    it(`returns ${to} for ${JSON.stringify(location)}`, () => {
      expect(redirectOf(answer(307, location), from)?.href).to.equal(to);
    });
  }

  it('accepts all redirects of GET, and no other status', () => {
    for (const status of [300, 301, 302, 303, 307, 308]) {
      expect(redirectOf(answer(status, '/x'), from), String(status)).not.to.equal(undefined);
    }
    for (const status of [200, 201, 304, 305, 306, 401, 503]) {
      expect(redirectOf(answer(status, '/x'), from), String(status)).to.equal(undefined);
    }
    expect(redirectOf(answer(307), from)).to.equal(undefined);
  });

  for (const location of [
    'http://registry.example/x',
    'http://',
    'ftp://a/',
    'javascript:alert(1)',
    'file:///etc/passwd',
  ]) {
    it(`refuses ${location} after https`, () => {
      expect(() => redirectOf(answer(302, location), from)).to.throw(UpstreamUnavailableError);
    });
  }
});

describe('isSameOrSafer', () => {
  for (const [a, b, expected] of [
    ['https://a.example/', 'https://a.example:443/x', true],
    ['http://a.example:5000/', 'https://a.example/', true],
    ['http://a.example/', 'https://A.example:8443/', true],
    ['https://a.example/', 'https://a.example:8443/', false],
    ['http://a.example/', 'http://a.example:8080/', false],
    ['https://a.example/', 'http://a.example/', false],
    ['http://a.example/', 'https://b.a.example/', false],
    ['http://a.example/', 'https://a.example./', false],
  ] as const) {
    it(`is ${String(expected)} from ${a} to ${b}`, () => {
      expect(isSameOrSafer(new URL(a), new URL(b))).to.equal(expected);
    });
  }
});

describe('isSigned', () => {
  for (const [url, expected] of [
    ['https://s3.example/b?X-Amz-Algorithm=a&X-Amz-Signature=b', true],
    ['https://gcs.example/b?X-Goog-Signature=b', true],
    ['https://cf.example/b?Expires=1&Signature=b&Key-Pair-Id=c', true],
    ['https://blob.core.windows.net/b?sv=1&sig=b', true],
    ['https://a.example/v2/a/blobs/b?signature', false],
    ['https://a.example/v2/signature=b', false],
    ['https://a.example/v2/?design=b', false],
  ] as const) {
    it(`is ${String(expected)} for ${url}`, () => {
      expect(isSigned(new URL(url))).to.equal(expected);
    });
  }
});
