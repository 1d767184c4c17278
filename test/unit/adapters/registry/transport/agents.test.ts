import { expect } from 'chai';
import { once } from 'node:events';
import { get, type IncomingMessage, type RequestOptions } from 'node:http';
import { get as getTls } from 'node:https';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { inspect } from 'node:util';
import { Pools, sharePools } from '../../../../../src/adapters/registry/transport/agents.ts';
import type { Addresses } from '../../../../../src/adapters/registry/transport/names.ts';
import { UpstreamTimeoutError, UpstreamUnavailableError } from '../../../../../src/domain/errors.ts';
import type { RegistryGateway } from '../../../../../src/domain/ports/registry-gateway.ts';
import { parseUpstream, type Upstream } from '../../../../../src/domain/upstream.ts';
import { eventually } from '../../../../support/eventually.ts';
import { FakeProxy } from '../../../../support/fake-proxy.ts';
import { FakeRegistry, type FakeRegistryOptions } from '../../../../support/fake-registry.ts';
import { makePackage } from '../../../../support/image.ts';
import { freePort } from '../../../../support/peers/process.ts';
import { makeRegistryGateway } from '../../../../support/registry-gateway.ts';
import { rejection } from '../../../../support/rejection.ts';
import { ISSUING_CA, SECOND_ROOT } from '../../../../support/tls/certificates.ts';

/** Large enough to go past the parser of HTTP. */
const image = makePackage(3_000_000);
const never = new AbortController().signal;

describe('connections to a registry', () => {
  const closing: (() => unknown)[] = [];
  afterEach(async () => {
    await Promise.all(closing.splice(0).map((close) => close()));
  });

  async function start(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
    const registry = await FakeRegistry.start(options);
    registry.publish(image);
    closing.push(() => registry.close());
    return registry;
  }

  async function proxyTo(registry: FakeRegistry, kind: 'http' | 'socks'): Promise<FakeProxy> {
    const proxy = await FakeProxy[kind](portOf(registry));
    closing.push(() => proxy.close());
    return proxy;
  }

  function portOf(registry: FakeRegistry): number {
    return Number(registry.host.split(':')[1]);
  }

  async function expectImage(gateway: RegistryGateway, upstream: Upstream): Promise<void> {
    const manifest = await gateway.fetchManifest(upstream, image.digest, never);
    expect(Buffer.compare(manifest, image.manifest.bytes)).to.equal(0);
    const chunks: Buffer[] = [];
    for await (const chunk of await gateway.fetchBlob(upstream, image.layer.descriptor, 0, never)) {
      chunks.push(Buffer.from(chunk));
    }
    expect(Buffer.compare(Buffer.concat(chunks), image.layer.bytes)).to.equal(0);
  }

  function fetchManifest(gateway: RegistryGateway, upstream: Upstream): Promise<Error> {
    return rejection(gateway.fetchManifest(upstream, image.digest, never));
  }

  describe('through proxies', () => {
    for (const [kind, scheme] of [
      ['http', 'http'],
      ['socks', 'socks5'],
      ['socks', 'socks5h'],
    ] as const) {
      for (const tls of [undefined, 'localhost'] as const) {
        if (kind === 'http' && tls === undefined) continue;
        it(`bring whole images by ${scheme} (${tls === undefined ? 'plain' : 'TLS'} behind it)`, async () => {
          const registry = await start(tls === undefined ? {} : { tls });
          const proxy = await proxyTo(registry, kind);
          const environment = { HTTP_PROXY: `${scheme}://${proxy.host}`, HTTPS_PROXY: `${scheme}://${proxy.host}` };
          await expectImage(makeRegistryGateway({ environment }), registry.upstream({ repo: 'registry.test:5000/a' }));
          expect(new Set(proxy.targets)).to.deep.equal(new Set(['registry.test:5000']));
        });
      }
    }

    it('let a large body bypass the parser, and pause with its reader, with TLS in a tunnel', async () => {
      const large = makePackage(12_000_000);
      const registry = await start({ tls: 'localhost' });
      registry.publish(large);
      const proxy = await proxyTo(registry, 'http');
      const gateway = makeRegistryGateway({ environment: { HTTPS_PROXY: proxy.host } });
      const upstream = registry.upstream({ repo: 'registry.test:5000/a' });
      const chunks: Buffer[] = [];
      for await (const chunk of await gateway.fetchBlob(upstream, large.layer.descriptor, 0, never)) {
        chunks.push(Buffer.from(chunk));
        for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
      }
      expect(Buffer.compare(Buffer.concat(chunks), large.layer.bytes)).to.equal(0);
      // The parser gives 64 KiB at a time.
      expect(Math.max(...chunks.map(({ byteLength }) => byteLength))).to.be.greaterThan(100_000);
    });

    it('are retried while the proxy cannot reach the registry', async () => {
      const registry = await start({ tls: 'localhost' });
      const proxy = await proxyTo(registry, 'http');
      proxy.refusals = [503, 502];
      const gateway = makeRegistryGateway({ environment: { HTTPS_PROXY: proxy.host } });
      await gateway.fetchManifest(registry.upstream({ repo: 'registry.test:5000/a' }), image.digest, never);
      expect(proxy.targets).to.have.lengthOf(3);
    });

    for (const status of [403, 407]) {
      it(`are not retried after ${String(status)}; the error has the name of the proxy without its password`, async () => {
        const registry = await start({ tls: 'localhost' });
        const proxy = await proxyTo(registry, 'http');
        proxy.refusals = [status, status, status];
        const environment = { HTTPS_PROXY: `http://robot:canary-pass@${proxy.host}` };
        const error = await fetchManifest(
          makeRegistryGateway({ environment }),
          registry.upstream({ repo: 'registry.test:5000/a' }),
        );
        expect(error).to.be.instanceOf(UpstreamUnavailableError);
        const cause = `ERR_PROXY_REFUSED (proxy ${proxy.host} answered CONNECT by ${String(status)})`;
        expect(error.cause).to.have.property('message', `manifest from registry.test:5000: ${cause}`);
        expect(inspect(error, { depth: 20 })).not.to.include('canary');
        expect(proxy.targets).to.have.lengthOf(1);
      });
    }

    it('fail with the name of a proxy that does not listen', async () => {
      const away = `127.0.0.1:${String(await freePort())}`;
      const gateway = makeRegistryGateway({ environment: { HTTPS_PROXY: away }, retryTimeoutMs: 10 });
      const error = await fetchManifest(gateway, parseUpstream({ repo: 'registry.test/a' }));
      expect(error.cause).to.have.property('message', `manifest from registry.test: ECONNREFUSED (at proxy ${away})`);
    });

    it('fail with the name of the proxy if the CA of a certificate is not trusted', async () => {
      const registry = await start({ tls: 'localhost' });
      const proxy = await proxyTo(registry, 'http');
      const gateway = makeRegistryGateway({ environment: { HTTPS_PROXY: proxy.host } });
      const error = await fetchManifest(gateway, registry.upstream({ repo: 'registry.test:5000/a', ca: ' ' }));
      expect(error.cause)
        .to.have.property('message')
        .that.matches(
          /: certificate is not signed by a CA that is trusted here \([A-Z_]+, through proxy 127\.0\.0\.1:\d+\)$/,
        );
    });

    it('verify the certificate of a host that is reached through a SOCKS proxy', async () => {
      const registry = await start({ tls: 'localhost' });
      const proxy = await proxyTo(registry, 'socks');
      const gateway = makeRegistryGateway({ environment: { HTTPS_PROXY: `socks5://${proxy.host}` } });
      const error = await fetchManifest(gateway, registry.upstream({ repo: 'other.test:5000/a' }));
      expect(error).to.have.nested.property('cause.message').that.includes('ERR_TLS_CERT_ALTNAME_INVALID');
    });

    it('wait no longer for a SOCKS proxy that does not answer than for a registry', async () => {
      const silent = createServer((socket) => closing.push(() => socket.destroy()));
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
      closing.push(() => silent.close());
      const HTTP_PROXY = `socks5://127.0.0.1:${String((silent.address() as AddressInfo).port)}`;
      const gateway = makeRegistryGateway({ environment: { HTTP_PROXY }, connectTimeoutMs: 20 });
      const error = await fetchManifest(gateway, parseUpstream({ repo: 'registry.test/a', scheme: 'http' }));
      expect(error).to.be.instanceOf(UpstreamTimeoutError);
      expect(error.cause).to.have.property('message').that.includes('no answer of proxy 127.0.0.1:');
    });
  });

  describe('with TLS', () => {
    for (const [what, ca] of [
      ['the root above the issuing CA', SECOND_ROOT + ISSUING_CA],
      ['the issuing CA', ISSUING_CA],
    ] as const) {
      it(`use the certificates of the settings as trust anchors: ${what}`, async () => {
        const registry = await start({ tls: 'issued' });
        await expectImage(makeRegistryGateway(), registry.upstream({ ca }));
      });
    }

    it('log the message of OpenSSL if Node has no code for it', async () => {
      const registry = await start({ tls: 'weak' });
      const error = await fetchManifest(makeRegistryGateway(), registry.upstream({ ca: ISSUING_CA }));
      expect(error.cause)
        .to.have.property('message')
        .that.matches(/^manifest from \S+: EE certificate key too weak$/);
    });

    it('have a time limit for the handshake', async () => {
      const silent = createServer((socket) => closing.push(() => socket.destroy()));
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
      closing.push(() => silent.close());
      const upstream = parseUpstream({ repo: `127.0.0.1:${String((silent.address() as AddressInfo).port)}/a` });
      const error = await fetchManifest(makeRegistryGateway({ connectTimeoutMs: 20 }), upstream);
      expect(error).to.be.instanceOf(UpstreamTimeoutError);
      expect(error.cause).to.have.property('message').that.includes('no TLS handshake with 127.0.0.1');
    });
  });

  describe('to names', () => {
    type Ask = (
      options: RequestOptions & { host: string; port: number },
    ) => Promise<{ status: number; socket: Socket }>;

    /** Asks through pools whose names are as `known` says. */
    function askWith(registry: Upstream['registry'], known: Readonly<Record<string, readonly string[]>>): Ask {
      const shared = sharePools(1000, {});
      shared.names.resolve = (host): Promise<Addresses> =>
        Promise.resolve({ addresses: known[host] ?? [], isLocal: true });
      const pools = new Pools(registry, [], shared);
      return async (options) => {
        const agents = pools.for(new URL(`${registry.scheme}://${options.host}:${String(options.port)}/`));
        const request =
          'https' in agents ? getTls({ ...options, agent: agents.https }) : get({ ...options, agent: agents.http });
        closing.push(() => {
          Object.values(agents)[0]?.destroy();
        });
        const [response] = (await once(request, 'response')) as [IncomingMessage];
        const { socket, statusCode: status = 0 } = response;
        await once(response.resume(), 'end');
        return { status, socket };
      };
    }

    it('use the next address if one does not answer', async () => {
      const registry = await start();
      const upstream = parseUpstream({ repo: 'registry.test/a', scheme: 'http' });
      const ask = askWith(upstream.registry, { 'registry.test': ['::1', '127.0.0.2', '127.0.0.1'] });
      const { status } = await ask({ host: 'registry.test', port: portOf(registry) });
      expect(status).to.equal(404);
    });

    it('resume a TLS session with the host that gave it', async () => {
      const registry = await start({ tls: 'localhost' });
      const { registry: configured } = registry.upstream({ repo: 'registry.test/a' });
      const ask = askWith(configured, { 'registry.test': ['127.0.0.1'] });
      const options = { host: 'registry.test', port: portOf(registry) };
      const reused: boolean[] = [];
      for (let i = 0; i < 2; i++) {
        const { socket } = await ask({ ...options, headers: { connection: 'close' } });
        reused.push((socket as Socket & { isSessionReused: () => boolean }).isSessionReused());
      }
      expect(reused).to.deep.equal([false, true]);
    });

    it('keep at most 32 idle connections of all registries together, the last used ones', async () => {
      const [registry, other] = [await start(), await start()];
      const ask = askWith(parseUpstream({ repo: 'registry.test/a', scheme: 'http' }).registry, {
        'registry.test': ['127.0.0.1'],
        'other.test': ['127.0.0.1'],
      });
      const askTogether = async (host: string, { port }: URL): Promise<Set<Socket>> => {
        const asking = Array.from({ length: 20 }, () => ask({ host, port: Number(port) }));
        return new Set((await Promise.all(asking)).map(({ socket }) => socket));
      };
      const isOpen = (socket: Socket): boolean => !socket.destroyed;
      const first = await askTogether('registry.test', new URL(registry.origin));
      const last = await askTogether('other.test', new URL(other.origin));
      await eventually(() => {
        expect([...first].filter(isOpen)).to.have.lengthOf(12);
        return Promise.resolve();
      });
      expect([...last].filter(isOpen)).to.have.lengthOf(20);
      const again = await askTogether('other.test', new URL(other.origin));
      expect([...again].filter((socket) => !last.has(socket))).to.deep.equal([]);
    });
  });
});
