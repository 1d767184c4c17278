import { expect } from 'chai';
import { parseNoProxy } from '../../../../src/adapters/registry/no-proxy.ts';

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
    ['fe80::1%eth0,.example', 'http://registry.example', true],
    ['[2001:db8::1]:5000', 'http://[2001:db8::1]:5000', true],
    ['a.example, b.example ,c.example', 'https://b.example', true],
    [',,', 'https://b.example', false],
    ['', 'http://127.0.0.1:5000', true],
    ['', 'http://localhost', true],
    ['', 'http://[::1]', true],
    ['', 'http://127.example', false],
  ];
  for (const [noProxy, url, direct] of cases) {
    it(`${direct ? 'goes past' : 'uses'} the proxy to ${url} under NO_PROXY="${noProxy}"`, () => {
      expect(parseNoProxy(noProxy)(new URL(url))).to.equal(direct);
    });
  }
});
