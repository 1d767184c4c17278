import { expect } from 'chai';
import fc from 'fast-check';
import { parseNoProxy } from '../../../../../src/adapters/registry/transport/no-proxy.ts';
import { expectLinear, nearMiss } from '../../../../support/hostile-text.ts';

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
