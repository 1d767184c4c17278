import { expect } from 'chai';
import { proxyWarnings } from '../../../../../src/adapters/registry/transport/proxy-warnings.ts';

describe('proxyWarnings', () => {
  it('has nothing against variables that work', () => {
    expect(proxyWarnings({})).to.deep.equal([]);
    expect(
      proxyWarnings({
        HTTP_PROXY: 'proxy.example:3128',
        https_proxy: 'http://robot:canary@proxy.example',
        NO_PROXY: ' 10.0.0.0/8, fd00::/8 ,.example,*.example.com,registry.example:5000,[2001:db8::1]:443,*,',
        ALL_PROXY: 'nonsense://',
      }),
    ).to.deep.equal([]);
  });

  it('warns of a name that is not read', () => {
    expect(proxyWarnings({ Https_Proxy: 'http://proxy.example', no_Proxy: 'a b' })).to.deep.equal([
      'Https_Proxy: is not read, as its name is neither HTTPS_PROXY nor https_proxy',
      'no_Proxy: is not read, as its name is neither NO_PROXY nor no_proxy',
    ]);
  });

  it('warns of a proxy that cannot be used, and shows nothing of it', () => {
    expect(proxyWarnings({ HTTPS_PROXY: '"http://robot:canary@proxy.example"' })).to.deep.equal([
      'HTTPS_PROXY: the proxy is not an http, https, socks5 or socks5h URL',
    ]);
  });

  for (const [entries, mistake] of [
    ['10.0.0.0/8 registry.example', 'entry 1 matches no host: entries are separated by commas'],
    ['a.example,b.example;c.example', 'entry 2 matches no host: entries are separated by commas'],
    [
      'https://registry.example',
      'entry 1 matches no host: it is a URL, and must be a host, a domain, an address or a network',
    ],
    ['registry.example/deckhouse', 'entry 1 matches no host: only networks such as 10.0.0.0/8 have a slash'],
  ] as const) {
    it(`warns of NO_PROXY="${entries}"`, () => {
      expect(proxyWarnings({ NO_PROXY: entries })).to.deep.equal([`NO_PROXY: ${mistake}`]);
    });
  }
});
