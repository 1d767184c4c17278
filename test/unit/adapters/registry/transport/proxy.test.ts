import { expect } from 'chai';
import fc from 'fast-check';
import { connect, type Socket } from 'node:net';
import { inspect } from 'node:util';
import { parseNoProxy, parseProxy, proxyUrl, tunnel } from '../../../../../src/adapters/registry/transport/proxy.ts';
import { FakeProxy, type SocksOptions } from '../../../../support/fake-proxy.ts';
import { expectLinear, nearMiss } from '../../../../support/hostile-text.ts';
import { rejection } from '../../../../support/rejection.ts';

describe('parseProxy', () => {
  for (const [text, kind, host, port, user] of [
    ['proxy.test:3128', 'http', 'proxy.test', 3128, ':'],
    ['http://Proxy.test', 'http', 'proxy.test', 80, ':'],
    ['https://proxy.test/', 'https', 'proxy.test', 443, ':'],
    ['socks5://proxy.test', 'socks', 'proxy.test', 1080, ':'],
    ['socks5h://robot:p%40ss@PROXY.test:1', 'socks', 'proxy.test', 1, 'robot:p@ss'],
    ['http://[2001:db8::1]:3128', 'http', '2001:db8::1', 3128, ':'],
    ['socks5://[::1]', 'socks', '::1', 1080, ':'],
    ['http://robot:100%@proxy.test', 'http', 'proxy.test', 80, 'robot:100%'],
  ] as const) {
    it(`reads ${text}`, () => {
      const proxy = parseProxy(text);
      expect([proxy?.kind, proxy?.host, proxy?.port]).to.deep.equal([kind, host, port]);
      expect(`${String(proxy?.username)}:${String(proxy?.password)}`).to.equal(user);
    });
  }

  for (const text of [
    'socks4://proxy.test',
    'ftp://proxy.test',
    'http://robot:canary@bad host',
    'http://',
    'socks5://',
  ]) {
    it(`refuses ${text}, without showing it`, () => {
      expect(() => parseProxy(text))
        .to.throw()
        .with.property('code', 'ERR_INVALID_PROXY');
      expect(() => parseProxy(text)).to.throw(/^(?!.*canary)/);
    });
  }

  it('returns no proxy for an empty text, and a proxy as a URL', () => {
    expect(parseProxy('')).to.equal(undefined);
    for (const text of [
      'http://proxy.test:3128',
      'https://robot:p%40ss@proxy.test:8443',
      'http://[2001:db8::1]:3128',
    ]) {
      const proxy = parseProxy(text);
      expect(proxy && proxyUrl(proxy)).to.equal(text);
    }
  });
});

describe('tunnel', () => {
  const closing: (() => Promise<void>)[] = [];
  const sockets: Socket[] = [];
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await Promise.all(closing.splice(0).map((close) => close()));
  });

  async function open(proxy: FakeProxy, scheme: string, host = 'registry.test', timeoutMs = 5000): Promise<Socket> {
    closing.push(() => proxy.close());
    const parsed = parseProxy(`${scheme}${proxy.host}`);
    if (parsed === undefined) throw new Error('no proxy');
    const socket = connect(parsed.port, parsed.host);
    socket.on('error', () => undefined);
    sockets.push(socket);
    await new Promise((resolve) => socket.once('connect', resolve));
    await tunnel(parsed, socket, { host, port: 5000 }, timeoutMs);
    return socket;
  }

  /** A port without a listener; it is enough where the proxy refuses. */
  const NOWHERE = 1;

  it('sends CONNECT with the host and the credential to the proxy', async () => {
    const behind = await FakeProxy.http(NOWHERE);
    closing.push(() => behind.close());
    const proxy = await FakeProxy.http(Number(behind.host.split(':')[1]));
    await open(proxy, 'http://robot:p%40ss@', '2001:db8::1');
    expect(proxy.targets).to.deep.equal(['[2001:db8::1]:5000']);
    expect(proxy.authorizations).to.deep.equal([`Basic ${Buffer.from('robot:p@ss').toString('base64')}`]);
  });

  for (const [status, code] of [
    [500, 'ECONNREFUSED'],
    [502, 'ECONNREFUSED'],
    [503, 'ECONNREFUSED'],
    [504, 'ECONNREFUSED'],
    [408, 'ECONNREFUSED'],
    [429, 'ECONNREFUSED'],
    [400, 'ERR_PROXY_REFUSED'],
    [403, 'ERR_PROXY_REFUSED'],
    [404, 'ERR_PROXY_REFUSED'],
    [407, 'ERR_PROXY_REFUSED'],
  ] as const) {
    it(`treats ${String(status)} as ${code}, and shows only the proxy and its status`, async () => {
      const proxy = await FakeProxy.http(NOWHERE);
      proxy.refusals = [status];
      const error = await rejection(open(proxy, 'http://robot:canary-pass@'));
      expect(error).to.have.property('code', code);
      expect(error.message).to.equal(`proxy ${proxy.host} answered CONNECT by ${String(status)}`);
      expect(inspect(error, { depth: 20 })).not.to.include('canary');
      expect(sockets.every(({ destroyed }) => destroyed)).to.equal(true);
    });
  }

  it('rejects when the proxy closes the connection', async () => {
    const proxy = await FakeProxy.http(NOWHERE);
    expect(await rejection(open(proxy, 'http://'))).to.have.property('code', 'ECONNRESET');
  });

  for (const scheme of ['socks5', 'socks5h']) {
    it(`sends the host name to a SOCKS proxy, which looks it up (${scheme})`, async () => {
      const behind = await FakeProxy.http(NOWHERE);
      closing.push(() => behind.close());
      const options = { username: 'robot', password: 'p@ss' };
      const proxy = await FakeProxy.socks(Number(behind.host.split(':')[1]), options);
      await open(proxy, `${scheme}://robot:p%40ss@`);
      expect(proxy.targets).to.deep.equal(['registry.test:5000']);
    });
  }

  for (const [what, options, code] of [
    ['a general failure', { reply: 1 }, 'ECONNREFUSED'],
    ['its rules', { reply: 2 }, 'ERR_PROXY_REFUSED'],
    ['a network without a route', { reply: 3 }, 'ECONNREFUSED'],
    ['a host without a route', { reply: 4 }, 'ECONNREFUSED'],
    ['a refused connection', { reply: 5 }, 'ECONNREFUSED'],
    ['an expired route', { reply: 6 }, 'ECONNREFUSED'],
    ['an unknown command', { reply: 7 }, 'ERR_PROXY_REFUSED'],
    ['a wrong password', { username: 'robot', password: 'another' }, 'ERR_PROXY_REFUSED'],
  ] as const satisfies readonly (readonly [string, SocksOptions, string])[]) {
    it(`treats ${what} of a SOCKS proxy as ${code}`, async () => {
      const proxy = await FakeProxy.socks(NOWHERE, options);
      const error = await rejection(open(proxy, 'socks5://robot:canary-pass@'));
      expect(error).to.have.property('code', code);
      expect(error.message).to.include(`proxy ${proxy.host} refused: `);
      expect(inspect(error, { depth: 20 })).not.to.include('canary');
    });
  }
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

  it('compares networks by their bits, also for IPv4-mapped addresses', () => {
    fc.assert(
      fc.property(address, fc.nat(32), fc.nat(32), fc.boolean(), (network, prefix, differing, mapped) => {
        const host = differing === 32 ? network : (network ^ (1 << (31 - differing))) >>> 0;
        fc.pre(host >>> 24 !== 127);
        const url = new URL(mapped ? `http://[::ffff:${dotted(host)}]` : `http://${dotted(host)}`);
        expect(parseNoProxy(`${dotted(network)}/${String(prefix)}`)(url)).to.equal(differing >= prefix);
      }),
    );
  });

  it('accepts any text, and finds hosts of all kinds in it', () => {
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

  it('reads 64 KiB of any text in linear time', () => {
    const url = new URL('http://a.example');
    expectLinear(PIECES, (noProxy) => parseNoProxy(noProxy)(url));
  });
});
