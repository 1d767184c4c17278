import { expect } from 'chai';
import { connect, type Socket } from 'node:net';
import { inspect } from 'node:util';
import { parseProxy, proxyUrl, tunnel } from '../../../../../src/adapters/registry/transport/proxy.ts';
import { FakeProxy, type SocksOptions } from '../../../../support/fake-proxy.ts';
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
    it(`refuses ${text}, and says nothing of what it holds`, () => {
      expect(() => parseProxy(text))
        .to.throw()
        .with.property('code', 'ERR_INVALID_PROXY');
      expect(() => parseProxy(text)).to.throw(/^(?!.*canary)/);
    });
  }

  it('is none when nothing is set, and writes itself as a URL', () => {
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

  it('names the host to a proxy by CONNECT, with the credential for it', async () => {
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
    it(`takes ${String(status)} for ${code}, and names the proxy and its status alone`, async () => {
      const proxy = await FakeProxy.http(NOWHERE);
      proxy.refusals = [status];
      const error = await rejection(open(proxy, 'http://robot:canary-pass@'));
      expect(error).to.have.property('code', code);
      expect(error.message).to.equal(`proxy ${proxy.host} answered CONNECT by ${String(status)}`);
      expect(inspect(error, { depth: 20 })).not.to.include('canary');
      expect(sockets.every(({ destroyed }) => destroyed)).to.equal(true);
    });
  }

  it('is broken by a proxy that ends the connection', async () => {
    const proxy = await FakeProxy.http(NOWHERE);
    expect(await rejection(open(proxy, 'http://'))).to.have.property('code', 'ECONNRESET');
  });

  for (const scheme of ['socks5', 'socks5h']) {
    it(`names the host to a SOCKS proxy, which looks it up (${scheme})`, async () => {
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
    it(`takes ${what} of a SOCKS proxy for ${code}`, async () => {
      const proxy = await FakeProxy.socks(NOWHERE, options);
      const error = await rejection(open(proxy, 'socks5://robot:canary-pass@'));
      expect(error).to.have.property('code', code);
      expect(error.message).to.include(`proxy ${proxy.host} refused: `);
      expect(inspect(error, { depth: 20 })).not.to.include('canary');
    });
  }
});
