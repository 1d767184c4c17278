import { expect } from 'chai';
import { getEventListeners } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { inspect } from 'node:util';
import { ANONYMOUS, basic } from '../../../../src/domain/credential.ts';
import {
  InvalidArgumentError,
  InvalidContentError,
  PackageUnknownError,
  StoppingError,
  CredentialsMissingError,
  UpstreamDeniedError,
  UpstreamTimeoutError,
  UpstreamUnavailableError,
} from '../../../../src/domain/errors.ts';
import { parseRepositoryPath } from '../../../../src/domain/reference.ts';
import { Verifier } from '../../../../src/domain/verifier.ts';
import { type DialledServer, parseUpstream, type Registry, type Upstream } from '../../../../src/domain/upstream.ts';
import { type FakeRegistry, PASSWORD, USERNAME } from '../../../support/fake-registry.ts';
import { bytesOf, makeBlob, makePackage } from '../../../support/image.ts';
import { behindGateway } from '../../../support/behind-gateway.ts';
import { makeRegistryGateway } from '../../../support/registry-gateway.ts';
import { freePort } from '../../../support/peers/process.ts';
import { rejection } from '../../../support/rejection.ts';
import { CA, serverCertificate } from '../../../support/tls/certificates.ts';

const image = makePackage(200_000);
const never = new AbortController().signal;
const FLAWED = { username: USERNAME, password: `${PASSWORD}\n` };

describe('OciRegistryGateway', () => {
  const { start, stop, manifest, blob, afterTest } = behindGateway(image);

  async function listen(server: Server): Promise<number> {
    const sockets = new Set<Socket>();
    server.on('connection', (socket: Socket) => sockets.add(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    afterTest(async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    });
    return (server.address() as AddressInfo).port;
  }

  /** The first request for a token waits for `answer`. */
  function heldToken(registry: FakeRegistry): { asked: Promise<void>; closed: Promise<void>; answer: () => void } {
    const [asked, closed] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
    let answer = (): void => undefined;
    let held = false;
    registry.script(({ url }, response) => {
      if (held || !url.startsWith('/token')) return false;
      held = true;
      response.on('close', closed.resolve);
      answer = () => response.end('{"token":"canary-token-0"}');
      asked.resolve(undefined);
      return true;
    });
    return {
      asked: asked.promise,
      closed: closed.promise,
      answer: () => {
        answer();
      },
    };
  }

  describe('requests', () => {
    it('accept all four manifest types and no encoding, and have a User-Agent', async () => {
      const registry = await start();
      await manifest(makeRegistryGateway(), registry.upstream());
      const { url, headers } = registry.log[0] ?? { url: '', headers: {} };
      expect(url).to.equal(`/v2/deckhouse/ee/manifests/${image.digest}`);
      expect(headers.accept?.split(', ')).to.have.lengthOf(4);
      expect(headers['accept-encoding']).to.equal('identity');
      expect(headers['user-agent']).to.equal('registry-packages-proxy/test');
    });

    it('share connections', async () => {
      const registry = await start();
      const ports = new Set<number | undefined>();
      registry.script((_request, response) => {
        ports.add(response.socket?.remotePort);
        return false;
      });
      const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
      for (let i = 0; i < 5; i++) await blob(gateway, upstream);
      expect(ports.size).to.equal(1);
    });

    it('leave no listener on a signal that lives as long as the process', async () => {
      const registry = await start({ auth: 'bearer' });
      const [gateway, upstream, { signal }] = [makeRegistryGateway(), registry.upstream(), new AbortController()];
      for await (const chunk of await gateway.fetchBlob(upstream, image.layer.descriptor, 0, signal)) {
        expect(chunk.byteLength).to.be.greaterThan(0);
      }
      registry.failTimes('/manifests/', { status: 503 }, { status: 404 });
      await rejection(gateway.fetchManifest(upstream, image.digest, signal));
      expect(getEventListeners(signal, 'abort')).to.deep.equal([]);
    });

    it('need the name of a repository', async () => {
      const gateway = makeRegistryGateway();
      const error = await rejection(manifest(gateway, parseUpstream({ repo: 'registry.example' })));
      expect(error).to.be.instanceOf(InvalidArgumentError);
    });
  });

  describe('authorization', () => {
    it('gets a token after a challenge, only to pull from this repository, and reuses it', async () => {
      const registry = await start({ auth: 'bearer' });
      const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
      await manifest(gateway, upstream);
      await blob(gateway, upstream);
      expect(registry.log.map(({ url }) => url.split('?')[0]?.split('/').slice(0, 3).join('/'))).to.deep.equal([
        '/v2/deckhouse',
        '/token',
        '/v2/deckhouse',
        '/v2/deckhouse',
      ]);
      const asked = new URL(registry.requests('/token')[0]?.url ?? '', 'http://x').searchParams;
      expect(Object.fromEntries(asked)).to.deep.equal({
        service: 'fake, registry',
        scope: 'repository:deckhouse/ee:pull',
      });
    });

    it('requests one token, however many requests wait for it', async () => {
      const registry = await start({ auth: 'bearer' });
      const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
      await Promise.all(Array.from({ length: 50 }, () => manifest(gateway, upstream)));
      expect(registry.requests('/token')).to.have.lengthOf(1);
    });

    it('continues to get a token for the other requests when the first one has left', async () => {
      const registry = await start({ auth: 'bearer' });
      const { asked, answer } = heldToken(registry);
      const [gateway, upstream, leaving] = [makeRegistryGateway(), registry.upstream(), new AbortController()];
      const reason = new StoppingError();
      const first = rejection(gateway.fetchManifest(upstream, image.digest, leaving.signal));
      await asked;
      // A 401 whose body is dropped before its end: its request waits for the token now.
      const waiting = Promise.withResolvers<undefined>();
      registry.script((_request, response) => {
        if (registry.requests('/manifests/').length !== 2) return false;
        response.writeHead(401, { 'www-authenticate': `Bearer realm="${registry.origin}/token"` }).flushHeaders();
        response.on('close', waiting.resolve);
        return true;
      });
      const second = manifest(gateway, upstream);
      await waiting.promise;
      leaving.abort(reason);
      expect(await first).to.equal(reason);
      answer();
      expect((await second).byteLength).to.equal(image.manifest.bytes.byteLength);
      expect(registry.requests('/token')).to.have.lengthOf(1);
    });

    it('stops getting a token when all waiting requests have left, and starts again for the next one', async () => {
      const registry = await start({ auth: 'bearer' });
      const { asked, closed } = heldToken(registry);
      const [gateway, upstream, leaving] = [makeRegistryGateway(), registry.upstream(), new AbortController()];
      const outcome = rejection(gateway.fetchManifest(upstream, image.digest, leaving.signal));
      await asked;
      leaving.abort(new StoppingError());
      await Promise.all([outcome, closed]);
      await manifest(gateway, upstream);
      expect(registry.requests('/token')).to.have.lengthOf(2);
    });

    it('gets anonymous tokens for public repositories', async () => {
      const registry = await start({ auth: 'bearer' });
      await manifest(makeRegistryGateway(), registry.upstream({ auth: {} }));
      expect(registry.requests('/token')[0]?.headers).not.to.have.property('authorization');
    });

    it('exchanges an identity token by POST', async () => {
      const registry = await start({ auth: 'bearer' });
      await manifest(makeRegistryGateway(), registry.upstream({ auth: { identitytoken: 'canary-refresh' } }));
      const { method, body, url } = registry.requests('/token')[0] ?? { method: '', body: '', url: '' };
      expect(method).to.equal('POST');
      expect(url).to.equal('/token');
      expect(Object.fromEntries(new URLSearchParams(body))).to.include({
        grant_type: 'refresh_token',
        refresh_token: 'canary-refresh',
        service: 'fake, registry',
        scope: 'repository:deckhouse/ee:pull',
      });
    });

    for (const status of [400, 401, 404, 405]) {
      it(`sends an identity token as a password to a token server that answers POST with ${String(status)}`, async () => {
        const registry = await start({ auth: 'bearer' });
        const methods: string[] = [];
        let password: string | undefined;
        registry.script(({ method, url, headers }, response) => {
          if (!url.startsWith('/token')) return false;
          methods.push(method);
          password = headers.authorization;
          response.writeHead(method === 'POST' ? status : 200).end('{"token":"canary-token-0"}');
          return true;
        });
        const upstream = registry.upstream({ auth: { identitytoken: 'canary-refresh' } });
        await manifest(makeRegistryGateway(), upstream);
        expect(methods).to.deep.equal(['POST', 'GET']);
        expect(password).to.equal(`Basic ${Buffer.from(':canary-refresh').toString('base64')}`);
      });
    }

    it('requests only the permission to pull from other repositories in the challenge', async () => {
      const registry = await start({ auth: 'bearer' });
      registry.script(({ url, headers }, response) => {
        if (!url.startsWith('/v2/') || headers.authorization !== undefined) return false;
        const scope = 'repository:deckhouse/ee:pull repository:mirror/ee:pull,push registry:catalog:* nonsense';
        const challenge = `Bearer realm="${registry.origin}/token",scope="${scope}",error="insufficient_scope"`;
        response.writeHead(401, { 'www-authenticate': challenge }).end();
        return true;
      });
      await manifest(makeRegistryGateway(), registry.upstream());
      const asked = new URL(registry.requests('/token')[0]?.url ?? '', 'http://x').searchParams;
      expect(asked.getAll('scope')).to.deep.equal(['repository:deckhouse/ee:pull', 'repository:mirror/ee:pull']);
    });

    for (const status of [307, 308]) {
      it(`sends no identity token to another host after a ${String(status)}`, async () => {
        const [registry, thief] = [await start({ auth: 'bearer' }), await start()];
        registry.failTimes('/token', { status, headers: { location: `${thief.origin}/steal` } });
        const upstream = registry.upstream({ auth: { identitytoken: 'canary-refresh' } });
        const error = await rejection(manifest(makeRegistryGateway(), upstream));
        expect(error).to.be.instanceOf(UpstreamUnavailableError);
        expect(thief.log).to.deep.equal([]);
      });
    }

    it('sends no password to another host after a redirect', async () => {
      const [registry, other] = [await start({ auth: 'bearer' }), await start({ auth: 'bearer' })];
      registry.failTimes('/token', { status: 307, headers: { location: `${other.origin}/token` } });
      await rejection(manifest(makeRegistryGateway(), registry.upstream()));
      expect(registry.requests('/token')[0]?.headers).to.have.property('authorization');
      expect(other.log[0]?.headers).not.to.have.property('authorization');
    });

    it('reads challenges that come in several headers', async () => {
      const registry = await start({ auth: 'bearer' });
      const challenges = ['Basic realm="a, b"', `Bearer realm="${registry.origin}/token"`];
      registry.script((_request, response) => {
        if (registry.log.length > 1) return false;
        response.writeHead(401, { 'www-authenticate': challenges }).end();
        return true;
      });
      await manifest(makeRegistryGateway(), registry.upstream());
      expect(registry.requests('/token')).to.have.lengthOf(1);
    });

    it('accepts a token with either of its names', async () => {
      const registry = await start({ auth: 'bearer' });
      registry.tokenFields = { token: undefined, access_token: 'canary-token-1' };
      await manifest(makeRegistryGateway(), registry.upstream());
    });

    it('replaces a token after four fifths of its lifetime, which is 60 s by default', async () => {
      let now = 0;
      const registry = await start({ auth: 'bearer' });
      registry.tokenFields = {};
      const [gateway, upstream] = [makeRegistryGateway({ now: () => now }), registry.upstream()];
      await manifest(gateway, upstream);
      now = 47_000;
      await manifest(gateway, upstream);
      expect(registry.requests('/token')).to.have.lengthOf(1);
      now = 48_001;
      await manifest(gateway, upstream);
      expect(registry.requests('/token')).to.have.lengthOf(2);
    });

    it('replaces a token that is refused, once', async () => {
      const registry = await start({ auth: 'bearer' });
      const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
      await manifest(gateway, upstream);
      registry.revokeTokens();
      await manifest(gateway, upstream);
      expect(registry.requests('/token')).to.have.lengthOf(2);
    });

    it('gives up when a new token is refused, too', async () => {
      const registry = await start({ auth: 'bearer' });
      registry.tokenFields = { token: 'canary-token-useless' };
      const error = await rejection(manifest(makeRegistryGateway(), registry.upstream()));
      expect(error).to.be.instanceOf(UpstreamDeniedError);
      expect(registry.log).to.have.lengthOf(3);
    });

    for (const auth of ['basic', 'bearer'] as const) {
      it(`reports that a wrong password is refused (${auth})`, async () => {
        const registry = await start({ auth });
        const upstream = registry.upstream({ auth: { username: 'robot', password: 'canary-wrong' } });
        const error = await rejection(manifest(makeRegistryGateway(), upstream));
        expect(error).to.be.instanceOf(UpstreamDeniedError);
        expect(registry.log.length).to.be.at.most(3);
      });

      it(`reports that a password is required but not configured (${auth})`, async () => {
        const registry = await start({ auth });
        registry.script(({ url }, response) => {
          if (!url.startsWith('/token')) return false;
          response.writeHead(401).end();
          return true;
        });
        const error = await rejection(manifest(makeRegistryGateway(), registry.upstream({ auth: {} })));
        expect(error).to.be.instanceOf(auth === 'basic' ? CredentialsMissingError : UpstreamDeniedError);
      });
    }

    it('sends a password at once if it was required before', async () => {
      const registry = await start({ auth: 'basic' });
      const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
      await manifest(gateway, upstream);
      await blob(gateway, upstream);
      expect(registry.log).to.have.lengthOf(3);
    });

    it('starts again with a changed credential', async () => {
      const registry = await start({ auth: 'bearer' });
      const gateway = makeRegistryGateway();
      await manifest(gateway, registry.upstream());
      await manifest(gateway, registry.upstream());
      expect(registry.requests('/token')).to.have.lengthOf(2);
    });

    for (const [auth, flaw, configOf] of [
      ['basic', 'the password ends with a line feed', (host: string) => ({ auths: { [host]: FLAWED } })],
      ['bearer', 'the password ends with a line feed', (host: string) => ({ auths: { [host]: FLAWED } })],
      ['basic', 'the docker config has no entry for this registry', () => ({ auths: { 'other.example': FLAWED } })],
      ['basic', 'the docker config leaves the password to a program', () => ({ credsStore: 'desktop' })],
    ] as const) {
      it(`tells beside a refusal that ${flaw} (${auth})`, async () => {
        const { host } = await start({ auth });
        const dockerCfg = Buffer.from(JSON.stringify(configOf(host))).toString('base64');
        const upstream = parseUpstream({ repo: `${host}/a`, scheme: 'HTTP', dockerCfg });
        const error = await rejection(manifest(makeRegistryGateway(), upstream));
        expect(error).to.be.instanceOf(UpstreamDeniedError);
        expect(String(error instanceof Error && error.cause)).to.include(`(${flaw}`);
        expect(inspect(error, { depth: 9 })).not.to.include(PASSWORD);
      });
    }

    it('sends no credentials to a foreign token server', async () => {
      const registry = await start({ auth: 'bearer' });
      const thief = await start();
      registry.realm = `${thief.origin}/steal`;
      const error = await rejection(manifest(makeRegistryGateway(), registry.upstream()));
      expect(error).to.be.instanceOf(UpstreamDeniedError);
      expect(thief.log).to.deep.equal([]);
    });

    it('sends credentials to a token server in the settings', async () => {
      const registry = await start({ auth: 'bearer' });
      const other = await start();
      registry.realm = `${other.origin}/token`;
      await rejection(manifest(makeRegistryGateway({ trustedRealms: [other.host] }), registry.upstream()));
      expect(other.requests('/token')).to.have.lengthOf(1);
    });

    for (const [what, body] of [
      ['is not JSON', 'canary-token {'],
      ['has no token', '{"canary":"token"}'],
      ['has a token that no header can carry', '{"token":"canary\\r\\nX: y"}'],
      ['is endless', `{"token":"${'canary'.repeat(20_000)}"}`],
    ] as const) {
      it(`refuses a token server's answer that ${what}, without showing it`, async () => {
        const registry = await start({ auth: 'bearer' });
        registry.failTimes('/token', { status: 200, body });
        const error = await rejection(manifest(makeRegistryGateway(), registry.upstream()));
        expect(error).to.be.instanceOf(UpstreamUnavailableError);
        expect(inspect(error, { depth: 10 })).not.to.include('canary');
      });
    }
  });

  describe('TLS', () => {
    it('uses the configured scheme, and no other', async () => {
      const [plain, secure] = [await start(), await start({ tls: 'localhost' })];
      for (const [registry, scheme] of [
        [plain, 'HTTPS'],
        [secure, 'HTTP'],
      ] as const) {
        const error = await rejection(manifest(makeRegistryGateway(), registry.upstream({ scheme })));
        expect(error).to.be.instanceOf(UpstreamUnavailableError);
        expect(registry.log).to.deep.equal([]);
      }
    });

    it('trusts the CA of its registry', async () => {
      const registry = await start({ tls: 'localhost' });
      expect(Buffer.compare(await blob(makeRegistryGateway(), registry.upstream()), image.layer.bytes)).to.equal(0);
    });

    it('also trusts the default roots, because a private registry may redirect to a public storage', async () => {
      const registry = await start({ tls: 'localhost' });
      const roots = getCACertificates('default');
      setDefaultCACertificates([CA]);
      try {
        await manifest(makeRegistryGateway(), registry.upstream({ ca: serverCertificate('elsewhere').cert }));
      } finally {
        setDefaultCACertificates(roots);
      }
    });

    it('trusts no server of a private CA without the CA', async () => {
      const registry = await start({ tls: 'localhost' });
      const error = await rejection(blob(makeRegistryGateway(), registry.upstream({ ca: ' ' })));
      expect(error).to.be.instanceOf(UpstreamUnavailableError);
      expect(error)
        .to.have.nested.property('cause.message')
        .that.matches(/SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT_LOCALLY/);
    });

    it('explains that a host does not use TLS', async () => {
      const registry = await start();
      const error = await rejection(blob(makeRegistryGateway(), registry.upstream({ scheme: 'https' })));
      expect(error).to.have.nested.property('cause.message').that.includes('host does not speak TLS (ERR_SSL_');
    });

    for (const body of [
      'Client sent an HTTP request to an HTTPS server.\n',
      '<center>The plain HTTP request was sent to HTTPS port</center>',
    ]) {
      it(`explains that a host which answers 400 and "${body.trim()}" requires TLS`, async () => {
        const registry = await start();
        registry.failTimes('/manifests/', { status: 400, body });
        const error = await rejection(manifest(makeRegistryGateway(), registry.upstream()));
        expect(error).to.have.nested.property('cause.message').that.includes('status 400 (the port speaks TLS)');
      });
    }

    it('trusts no certificate for another name', async () => {
      const registry = await start({ tls: 'elsewhere' });
      const error = await rejection(blob(makeRegistryGateway(), registry.upstream()));
      const words = 'certificate is for another host (ERR_TLS_CERT_ALTNAME_INVALID)';
      expect(error).to.have.nested.property('cause.message').that.includes(words);
    });
  });

  describe('proxies', () => {
    it('uses the proxy for http, and none for hosts in NO_PROXY', async () => {
      const seen: string[] = [];
      const proxy = createHttpServer((request, response) => {
        seen.push(request.url ?? '');
        response.end(image.manifest.bytes);
      });
      const HTTP_PROXY = `http://127.0.0.1:${String(await listen(proxy))}`;
      const upstream = parseUpstream({ repo: 'registry.test/a', scheme: 'http' });
      for (const environment of [{ HTTP_PROXY: '', http_proxy: HTTP_PROXY }, { HTTP_PROXY: HTTP_PROXY.slice(7) }]) {
        await manifest(makeRegistryGateway({ environment }), upstream);
        expect(seen.splice(0)).to.deep.equal([`http://registry.test/v2/a/manifests/${image.digest}`]);
      }
      const gateway = makeRegistryGateway({ environment: { HTTP_PROXY, NO_PROXY: '.test' }, retryTimeoutMs: 0 });
      await rejection(manifest(gateway, upstream));
      expect(seen).to.deep.equal([]);
    });

    it('chooses the proxy again for the host of a redirect', async () => {
      const registry = await start();
      const seen: string[] = [];
      const proxy = createHttpServer((request, response) => {
        seen.push(request.url ?? '');
        response.end(image.layer.bytes);
      });
      const HTTP_PROXY = `http://127.0.0.1:${String(await listen(proxy))}`;
      registry.failTimes('/blobs/', { status: 307, headers: { location: 'http://storage.test/bucket' } });
      const body = await blob(makeRegistryGateway({ environment: { HTTP_PROXY } }), registry.upstream());
      expect(Buffer.compare(body, image.layer.bytes)).to.equal(0);
      expect(seen).to.deep.equal(['http://storage.test/bucket']);
    });

    for (const [what, answer] of [
      ['a proxy that does not answer', ''],
      ['a TLS handshake behind a proxy that stalls', 'HTTP/1.1 200 OK\r\n\r\n'],
    ] as const) {
      it(`waits no longer for ${what} than for a registry`, async () => {
        const proxy = createServer((socket) =>
          socket.on('error', () => undefined).once('data', () => socket.write(answer)),
        );
        const HTTPS_PROXY = `http://127.0.0.1:${String(await listen(proxy))}`;
        const patience = { connectTimeoutMs: 20, headersTimeoutMs: 20 };
        const gateway = makeRegistryGateway({ environment: { HTTPS_PROXY }, ...patience });
        const error = await rejection(manifest(gateway, parseUpstream({ repo: 'registry.test/a' })));
        expect(error).to.be.instanceOf(UpstreamTimeoutError);
      });
    }

    for (const HTTP_PROXY of ['socks4://127.0.0.1:9', 'http://robot:canary@bad host']) {
      it(`does not connect directly if the proxy is invalid (${HTTP_PROXY})`, async () => {
        const gateway = makeRegistryGateway({ environment: { HTTP_PROXY } });
        const error = await rejection(manifest(gateway, parseUpstream({ repo: 'registry.test/a', scheme: 'http' })));
        expect(error).to.be.instanceOf(UpstreamUnavailableError);
        expect(error.cause).to.have.property('message').that.includes('manifest from registry.test: ERR_INVALID_PROXY');
        expect(inspect(error, { depth: 20 })).not.to.include('canary');
      });
    }

    it('tunnels https through a proxy, and checks the certificate behind it', async () => {
      const registry = await start({ tls: 'localhost' });
      const targets: string[] = [];
      const proxy = createHttpServer();
      proxy.on('connect', (request, socket: Socket) => {
        targets.push(request.url ?? '');
        const onward = connect(Number(registry.host.split(':')[1]), '127.0.0.1', () => {
          socket.write('HTTP/1.1 200 OK\r\n\r\n');
          onward.pipe(socket).pipe(onward);
        });
        onward.on('error', () => socket.destroy());
        socket.on('error', () => onward.destroy());
        socket.on('close', () => onward.destroy());
      });
      const HTTPS_PROXY = `http://127.0.0.1:${String(await listen(proxy))}`;
      const gateway = makeRegistryGateway({ environment: { HTTPS_PROXY } });
      const repo = (name: string): Upstream => registry.upstream({ repo: `${name}:5000/deckhouse/ee` });
      expect(Buffer.compare(await blob(gateway, repo('registry.test')), image.layer.bytes)).to.equal(0);
      expect(targets).to.deep.equal(['registry.test:5000']);
      const error = await rejection(blob(gateway, repo('other.test')));
      expect(error).to.have.nested.property('cause.message').that.includes('ERR_TLS_CERT_ALTNAME_INVALID');
    });
  });

  describe('failures', () => {
    it('are UPSTREAM_DENIED for 403, unknown for 404, unavailable for other statuses', async () => {
      const registry = await start();
      const table = [
        [403, UpstreamDeniedError],
        [404, PackageUnknownError],
        [400, UpstreamUnavailableError],
        [204, UpstreamUnavailableError],
      ] as const;
      for (const [status, type] of table) {
        registry.failTimes('/manifests/', { status });
        expect(await rejection(manifest(makeRegistryGateway(), registry.upstream()))).to.be.instanceOf(type);
      }
    });

    it('contain the host and the reason, but no secrets and no text of the registry', async () => {
      const registry = await start({ auth: 'basic' });
      registry.failTimes(
        '/manifests/',
        { status: 401, headers: { 'www-authenticate': 'Basic realm="canary"' } },
        { status: 403, body: '{"errors":[{"code":"DENIED","message":"canary"}]}' },
      );
      const error = await rejection(manifest(makeRegistryGateway(), registry.upstream()));
      expect(error.cause).to.have.property('message', `manifest from ${registry.host}: status 403 DENIED`);
      const everything = inspect(error, { depth: 20, showHidden: true });
      expect(everything).not.to.include('canary');
      expect(everything).not.to.include(PASSWORD);
    });

    it('are time-outs for a registry that does not answer', async () => {
      const port = await listen(createServer());
      const upstream = parseUpstream({ repo: `127.0.0.1:${String(port)}/a`, scheme: 'http' });
      const error = await rejection(manifest(makeRegistryGateway({ headersTimeoutMs: 50 }), upstream));
      expect(error).to.be.instanceOf(UpstreamTimeoutError);
    });

    it('are time-outs for a body that stalls', async () => {
      const registry = await start();
      registry.script((_request, response) => {
        response.writeHead(200, { 'content-length': image.layer.descriptor.size });
        return response.write(image.layer.bytes.subarray(0, 1000));
      });
      const gateway = makeRegistryGateway({ idleTimeoutMs: 50 });
      expect(await rejection(blob(gateway, registry.upstream()))).to.be.instanceOf(UpstreamTimeoutError);
      expect(await rejection(manifest(gateway, registry.upstream()))).to.be.instanceOf(UpstreamTimeoutError);
    });

    for (const [status, type] of [
      [200, UpstreamTimeoutError],
      [404, PackageUnknownError],
    ] as const) {
      it(`are not delayed by an answer ${String(status)} that comes byte by byte`, async () => {
        const registry = await start();
        registry.script((_request, response) => {
          response.writeHead(status);
          const drip = setInterval(() => response.write(' '), 10);
          response.on('close', () => {
            clearInterval(drip);
          });
          return true;
        });
        const error = await rejection(manifest(makeRegistryGateway({ idleTimeoutMs: 50 }), registry.upstream()));
        expect(error).to.be.instanceOf(type);
      });
    }

    it('are time-outs for a blob of which a byte comes now and then', async () => {
      const registry = await start();
      registry.script((_request, response) => {
        response.writeHead(200, { 'content-length': image.layer.descriptor.size });
        const drip = setInterval(() => response.write('a'), 10);
        response.on('close', () => {
          clearInterval(drip);
        });
        return true;
      });
      const gateway = makeRegistryGateway({ idleTimeoutMs: 500 });
      expect(await rejection(blob(gateway, registry.upstream()))).to.be.instanceOf(UpstreamTimeoutError);
    });

    it('are no time-outs for a slow reader', async () => {
      const registry = await start();
      const gateway = makeRegistryGateway({ idleTimeoutMs: 30 });
      const big = makeBlob('application/octet-stream', bytesOf(20_000_000));
      registry.publish({ ...image, blobs: [big] });
      const verifier = new Verifier(big.descriptor);
      let paused = false;
      for await (const chunk of await gateway.fetchBlob(registry.upstream(), big.descriptor, 0, never)) {
        if (!paused) await new Promise((resolve) => setTimeout(resolve, 100));
        paused = true;
        verifier.update(chunk);
      }
      verifier.verify();
    });

    for (const [how, size, tls] of [
      ['breaks off', image.layer.descriptor.size, undefined],
      ['breaks off late', 3_000_000, undefined],
      ['breaks off late', 3_000_000, 'localhost'],
    ] as const) {
      it(`are unavailable for a body that ${how}, after all received bytes (${tls ?? 'plain'})`, async () => {
        const registry = await start(tls && { tls });
        const sent = size - 500;
        registry.script((_request, response) => {
          response.writeHead(200, { 'content-length': size });
          response.write(Buffer.alloc(sent), () => response.socket?.end());
          return true;
        });
        const descriptor = { ...image.layer.descriptor, size };
        let received = 0;
        const error = await rejection(
          (async () => {
            const chunks = await makeRegistryGateway().fetchBlob(registry.upstream(), descriptor, 0, never);
            for await (const chunk of chunks) received += chunk.byteLength;
          })(),
        );
        expect(error).to.be.instanceOf(UpstreamUnavailableError);
        expect(received).to.equal(sent);
      });
    }

    it('leave no extra bytes for the next answer', async () => {
      const registry = await start();
      const big = makeBlob('application/octet-stream', bytesOf(1_000_000));
      registry.script(({ url }, response) => {
        if (!url.includes('/blobs/')) return false;
        response.socket?.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n');
        response.socket?.write(big.bytes);
        response.socket?.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged');
        return true;
      });
      const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
      const verifier = new Verifier(big.descriptor);
      for await (const chunk of await gateway.fetchBlob(upstream, big.descriptor, 0, never)) verifier.update(chunk);
      verifier.verify();
      expect(Buffer.compare(await manifest(gateway, upstream), image.manifest.bytes)).to.equal(0);
    });

    for (const [what, answer] of [
      [
        'an upgrade that nobody asked for',
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
      ],
      ['interim answers without end', 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(101)],
    ] as const) {
      it(`are unavailable at once for ${what}`, async () => {
        const registry = await start();
        registry.script((_request, response) => response.socket?.write(answer) !== undefined);
        const error = await rejection(manifest(makeRegistryGateway(), registry.upstream()));
        expect(error).to.be.instanceOf(UpstreamUnavailableError);
        expect(error).to.have.nested.property('cause.message').that.includes('ERR_UNEXPECTED_ANSWER');
      });
    }

    it('are not caused by interim answers', async () => {
      const registry = await start();
      registry.script((_request, response) => {
        response.socket?.write('HTTP/1.1 100 Continue\r\n\r\n'.repeat(100));
        return false;
      });
      await manifest(makeRegistryGateway(), registry.upstream());
    });

    it('refuses a manifest of more than 4 MiB', async () => {
      const registry = await start();
      registry.failTimes('/manifests/', { status: 200, body: ' '.repeat(4 * 1024 * 1024 + 1) });
      const error = await rejection(manifest(makeRegistryGateway(), registry.upstream()));
      expect(error).to.be.instanceOf(InvalidContentError);
    });
  });

  describe('uses another server for a registry', () => {
    const RECORDED = 'registry.d8-system.svc:5001';
    type Server = Pick<DialledServer, 'by'> & Partial<DialledServer> & Partial<Pick<Registry, 'credential' | 'ca'>>;
    const servedBy = (host: string, { credential = ANONYMOUS, ca = [CA], ...dialled }: Server): Upstream => ({
      registry: {
        scheme: 'https',
        host: RECORDED,
        credential,
        ca,
        dialled: { host, trustsCaAlone: dialled.by === 'agent', ...dialled },
      },
      repository: parseRepositoryPath('deckhouse/ee'),
    });
    const account = { credential: basic(USERNAME, PASSWORD) };

    it('without a proxy, with its own CA, and names the registry in errors', async () => {
      const agent = await start({ tls: 'localhost' });
      const environment = { HTTPS_PROXY: 'http://127.0.0.1:1', HTTP_PROXY: 'http://127.0.0.1:1' };
      const gateway = makeRegistryGateway({ environment });
      const upstream = servedBy(agent.host, { by: 'agent' });
      expect(Buffer.compare(await manifest(gateway, upstream), image.manifest.bytes)).to.equal(0);
      expect(Buffer.compare(await blob(gateway, upstream), image.layer.bytes)).to.equal(0);
      expect(agent.log.map(({ headers }) => headers.authorization)).to.deep.equal([undefined, undefined]);
      agent.failTimes('/manifests/', { status: 403 });
      const error = await rejection(manifest(gateway, upstream));
      expect(error).to.have.nested.property('cause.message', `manifest from ${RECORDED}: status 403`);
    });

    it('with the default roots and its CA for the store, and only its CA for the agent', async () => {
      const registry = await start({ tls: 'localhost' });
      const ca = [serverCertificate('elsewhere').cert];
      const roots = getCACertificates('default');
      setDefaultCACertificates([CA]);
      try {
        await manifest(makeRegistryGateway(), servedBy(registry.host, { by: 'store', ca }));
        const error = await rejection(manifest(makeRegistryGateway(), servedBy(registry.host, { by: 'agent', ca })));
        expect(error).to.be.instanceOf(UpstreamUnavailableError);
      } finally {
        setDefaultCACertificates(roots);
      }
      expect(registry.log).to.have.lengthOf(1);
    });

    it('and its token server, whose realm has no host', async () => {
      const store = await start({ tls: 'localhost', auth: 'bearer' });
      store.realm = '/token';
      const upstream = servedBy(store.host, { by: 'store', ...account });
      expect(Buffer.compare(await manifest(makeRegistryGateway(), upstream), image.manifest.bytes)).to.equal(0);
    });

    it('and then the other one once, with its account, when the first one refuses the connection', async () => {
      const store = await start({ tls: 'localhost', auth: 'basic' });
      const { registry: otherwise } = servedBy(store.host, { by: 'store', ...account });
      const away = `127.0.0.1:${String(await freePort())}`;
      const upstream = servedBy(away, { by: 'agent', otherwise });
      expect(Buffer.compare(await blob(makeRegistryGateway(), upstream), image.layer.bytes)).to.equal(0);
      await stop(store);
      const error = await rejection(manifest(makeRegistryGateway({ retryTimeoutMs: 10 }), upstream));
      expect(error).to.have.nested.property(
        'cause.message',
        `manifest from ${RECORDED}: ECONNREFUSED (no connection to 127.0.0.1)`,
      );
    });

    for (const [what, answer] of [
      ['says that it has nothing', { status: 404 }],
      ['fails', { status: 500 }],
      ['refuses', { status: 403 }],
    ] as const) {
      it(`and no other server when the first one ${what}`, async () => {
        const store = await start({ tls: 'localhost' });
        const agent = await start({ tls: 'localhost' });
        agent.script(({ url }, response) => {
          if (!url.includes('/manifests/')) return false;
          response.writeHead(answer.status).end();
          return true;
        });
        const { registry: otherwise } = servedBy(store.host, { by: 'store' });
        const gateway = makeRegistryGateway({ retryTimeoutMs: 10 });
        await rejection(manifest(gateway, servedBy(agent.host, { by: 'agent', otherwise })));
        expect(store.log).to.deep.equal([]);
      });
    }
  });
});
