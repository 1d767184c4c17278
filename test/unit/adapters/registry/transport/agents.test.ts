import { expect } from 'chai';
import fc from 'fast-check';
import { once } from 'node:events';
import { get, type IncomingMessage, type RequestOptions } from 'node:http';
import { get as getTls } from 'node:https';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { inspect } from 'node:util';
import { type Agents, createAgents, parseNoProxy } from '../../../../../src/adapters/registry/transport/agents.ts';
import { openNetwork } from '../../../../../src/adapters/registry/transport/connector.ts';
import { DialGuard } from '../../../../../src/adapters/registry/transport/dial-guard.ts';
import type { Addresses } from '../../../../../src/adapters/registry/transport/names.ts';
import { UpstreamTimeoutError, UpstreamUnavailableError } from '../../../../../src/domain/errors.ts';
import type { RegistryGateway } from '../../../../../src/domain/ports/registry-gateway.ts';
import { parseUpstream, type Upstream } from '../../../../../src/domain/upstream.ts';
import { FakeProxy } from '../../../../support/fake-proxy.ts';
import { FakeRegistry, type FakeRegistryOptions } from '../../../../support/fake-registry.ts';
import { expectLinear, nearMiss } from '../../../../support/hostile-text.ts';
import { makePackage } from '../../../../support/image.ts';
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

    it('read a large body past the parser, and stop while its reader does, with TLS in a tunnel', async () => {
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

    it('are tried again while the proxy does not reach the registry', async () => {
      const registry = await start({ tls: 'localhost' });
      const proxy = await proxyTo(registry, 'http');
      proxy.refusals = [503, 502];
      const gateway = makeRegistryGateway({ environment: { HTTPS_PROXY: proxy.host } });
      await gateway.fetchManifest(registry.upstream({ repo: 'registry.test:5000/a' }), image.digest, never);
      expect(proxy.targets).to.have.lengthOf(3);
    });

    for (const status of [403, 407]) {
      it(`are given up after ${String(status)}, with the name of the proxy and without its password`, async () => {
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

    it('check the certificate behind a SOCKS proxy', async () => {
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
      it(`take the certificates of the settings for anchors: ${what}`, async () => {
        const registry = await start({ tls: 'issued' });
        await expectImage(makeRegistryGateway(), registry.upstream({ ca }));
      });
    }

    it("log OpenSSL's words where Node has no code for them", async () => {
      const registry = await start({ tls: 'weak' });
      const error = await fetchManifest(makeRegistryGateway(), registry.upstream({ ca: ISSUING_CA }));
      expect(error.cause)
        .to.have.property('message')
        .that.matches(/^manifest from \S+: EE certificate key too weak$/);
    });

    it('are bounded by the time for a handshake', async () => {
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
    /** Agents whose names are as `known` says, by a name server. */
    function agentsOf(registry: Upstream['registry'], known: Readonly<Record<string, readonly string[]>>): Agents {
      const network = openNetwork(1000);
      network.names.resolve = (host): Promise<Addresses> =>
        Promise.resolve({ addresses: known[host] ?? [], isLocal: true });
      const agents = createAgents(registry, new DialGuard(registry, [], network.names), network, {});
      const chosen = agents(new URL(`${registry.scheme}://${registry.host}/`));
      closing.push(() => {
        chosen.http.destroy();
        chosen.https.destroy();
      });
      return chosen;
    }

    async function answerOf(agents: Agents, options: RequestOptions): Promise<IncomingMessage> {
      const isTls = options.protocol === 'https:';
      const request = (isTls ? getTls : get)({ ...options, agent: isTls ? agents.https : agents.http });
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      await once(response.resume(), 'end');
      return response;
    }

    it('go on to the next address when one is dead', async () => {
      const registry = await start();
      const upstream = parseUpstream({ repo: 'registry.test/a', scheme: 'http' });
      const agents = agentsOf(upstream.registry, { 'registry.test': ['::1', '127.0.0.2', '127.0.0.1'] });
      const response = await answerOf(agents, { host: 'registry.test', port: portOf(registry) });
      expect(response.statusCode).to.equal(404);
    });

    it('resume a TLS session with the host that gave it', async () => {
      const registry = await start({ tls: 'localhost' });
      const { registry: configured } = registry.upstream({ repo: 'registry.test/a' });
      const agents = agentsOf(configured, { 'registry.test': ['127.0.0.1'] });
      const options = { protocol: 'https:', host: 'registry.test', port: portOf(registry) };
      const reused: boolean[] = [];
      for (let i = 0; i < 2; i++) {
        const { socket } = await answerOf(agents, { ...options, headers: { connection: 'close' } });
        reused.push((socket as Socket & { isSessionReused: () => boolean }).isSessionReused());
      }
      expect(reused).to.deep.equal([false, true]);
    });
  });
});

const PIECES = [
  ...[',', '.', '*', '*.', ':', ':80', '[', ']', '/', '/8', '/129', '-', ' ', '%eth0', '::', '::ffff:', '10.0.0.1'],
  ...['a', 'a.example', 'localhost', '0', 'ä', '\0'],
];
const labels = fc.array(fc.constantFrom('a', 'b', 'ab', 'example'), { minLength: 1, maxLength: 3 });
const port = fc.option(fc.constantFrom('80', '443', '5000'));
const address = fc.nat(2 ** 32 - 1);
const dotted = (bits: number): string => [24, 16, 8, 0].map((shift) => String((bits >>> shift) & 255)).join('.');

describe('parseNoProxy', () => {
  const cases: [noProxy: string, url: string, direct: boolean][] = [
    ['', 'https://registry.example', false],
    ['*', 'https://registry.example', true],
    ['registry.example', 'https://registry.example', true],
    ['registry.example', 'https://a.registry.example', true],
    ['registry.example', 'https://myregistry.example', false],
    ['REGISTRY.example', 'https://Registry.Example', true],
    ['.example', 'https://registry.example', true],
    ['.registry.example', 'https://registry.example', false],
    ['*.registry.example', 'https://a.registry.example', true],
    ['*.registry.example', 'https://registry.example', false],
    ['registry.example:5000', 'https://registry.example:5000', true],
    ['registry.example:5000', 'https://registry.example', false],
    ['registry.example:443', 'https://registry.example', true],
    ['registry.example:80', 'http://registry.example', true],
    ['10.0.0.0/8', 'http://10.1.2.3:5000', true],
    ['10.0.0.0/8', 'http://11.1.2.3', false],
    ['10.0.0.0/8', 'http://registry.example', false],
    ['10.0.0.0/99', 'http://10.1.2.3', false],
    ['192.0.2.7', 'http://192.0.2.7', true],
    ['192.0.2.7', 'http://192.0.2.70', false],
    ['192.0.2.7:5000', 'http://192.0.2.7:5000', true],
    ['192.0.2.7:5000', 'http://192.0.2.7', false],
    ['fd00::/8', 'http://[fd00::1]:5000', true],
    ['fd00::/8', 'http://[fe80::1]', false],
    ['2001:db8::1', 'http://[2001:db8::1]', true],
    ['2001:DB8:0:0::1', 'http://[2001:db8::1]', true],
    ['::ffff:192.0.2.7', 'http://192.0.2.7', true],
    ['10.0.0.0/8', 'http://[::ffff:10.0.0.1]', true],
    ['192.0.2.7', 'http://registry.example', false],
    ['::/0', 'http://192.0.2.7', false],
    ['::/0', 'http://[2001:db8::1]', true],
    ['::ffff:10.0.0.0/104', 'http://10.1.2.3', true],
    ['::ffff:0:0/95', 'http://10.1.2.3', false],
    ['10.0.0.0/8/8', 'http://10.1.2.3', false],
    ['10.0.0.0/', 'http://10.1.2.3', false],
    ['.2.7', 'http://192.0.2.7', false],
    ['[2001:db8::1]', 'http://[2001:db8::1]', false],
    ['registry.example:', 'https://registry.example:5000', true],
    ['registry.example:https', 'https://registry.example', false],
    [':443', 'https://registry.example', false],
    ['*registry.example', 'https://registry.example', false],
    ['*,a.example', 'https://registry.example', true],
    ['fe80::1%eth0,.example', 'http://registry.example', true],
    ['[2001:db8::1]:5000', 'http://[2001:db8::1]:5000', true],
    ['a.example, b.example ,c.example', 'https://b.example', true],
    [',,', 'https://b.example', false],
    ['', 'http://127.0.0.1:5000', true],
    ['', 'http://localhost', true],
    ['', 'http://[::1]', true],
    ['', 'http://[::ffff:127.0.0.1]', true],
    ['', 'http://127.example', false],
    ['', 'http://localhost.example', false],
  ];
  for (const [noProxy, url, direct] of cases) {
    it(`${direct ? 'goes past' : 'uses'} the proxy to ${url} under NO_PROXY="${noProxy}"`, () => {
      expect(parseNoProxy(noProxy)(new URL(url))).to.equal(direct);
    });
  }

  it('compares names by whole labels', () => {
    const rules = fc.tuple(fc.constantFrom('', '.', '*.'), labels, port);
    fc.assert(
      fc.property(rules, labels, port, ([start, rule, rulePort], host, hostPort) => {
        const entry = `${start}${rule.join('.')}${rulePort === null ? '' : `:${rulePort}`}`;
        const url = new URL(`https://${host.join('.')}${hostPort === null ? '' : `:${hostPort}`}`);
        const isBelow = host.length > rule.length && host.slice(-rule.length).join('.') === rule.join('.');
        const isIt = start === '' && host.join('.') === rule.join('.');
        const isPort = rulePort === null || rulePort === (hostPort ?? '443');
        expect(parseNoProxy(entry)(url)).to.equal(isPort && (isBelow || isIt));
      }),
    );
  });

  it('compares networks by their bits, in either spelling of an address', () => {
    fc.assert(
      fc.property(address, fc.nat(32), fc.nat(32), fc.boolean(), (network, prefix, differing, mapped) => {
        const host = differing === 32 ? network : (network ^ (1 << (31 - differing))) >>> 0;
        fc.pre(host >>> 24 !== 127);
        const url = new URL(mapped ? `http://[::ffff:${dotted(host)}]` : `http://${dotted(host)}`);
        expect(parseNoProxy(`${dotted(network)}/${String(prefix)}`)(url)).to.equal(differing >= prefix);
      }),
    );
  });

  it('reads anything, and finds hosts of all kinds in it', () => {
    const entry = fc.oneof(
      labels.map((rule) => rule.join('.')),
      fc.ipV4(),
      fc.ipV6(),
      fc.ipV6().map((ip) => `[${ip}]:80`),
      fc.ipV6().map((ip) => `${ip}/64`),
    );
    const list = fc.array(entry).map((entries) => entries.join(','));
    const urls = ['http://a.example', 'https://192.0.2.7:5000', 'http://[fe80::1]'].map((url) => new URL(url));
    fc.assert(
      fc.property(fc.oneof(nearMiss(list, PIECES), fc.string({ unit: 'binary' })), (noProxy) => {
        for (const url of urls) expect(parseNoProxy(noProxy)(url)).to.be.a('boolean');
      }),
    );
  });

  it('reads 64 KiB of anything in linear time', () => {
    const url = new URL('http://a.example');
    expectLinear(PIECES, (noProxy) => parseNoProxy(noProxy)(url));
  });
});
