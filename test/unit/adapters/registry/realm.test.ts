import { expect } from 'chai';
import { isTrustedRealm, judgeRealm, parseTrustedRealm } from '../../../../src/adapters/registry/realm.ts';
import { parseUpstream } from '../../../../src/domain/upstream.ts';
import { expectLinear } from '../../../support/hostile-text.ts';

const TRUSTED = ['tokens.partner.net', 'tokens.secure.net:443', 'tokens.other.net:8443'];

describe('judgeRealm', () => {
  const cases: [registry: string, realm: string, trust: string][] = [
    ['https://registry.example:5000', 'https://registry.example:5000/token', 'trusted'],
    ['https://registry.example:5000', 'https://registry.example/auth', 'trusted'],
    ['https://registry.example:5000', 'http://registry.example:5000/token', 'refused'],
    ['http://registry.example:5000', 'http://registry.example:5000/token', 'trusted'],
    ['http://registry.example:5000', 'http://registry.example:5001/token', 'stranger'],
    ['https://registry-1.docker.io', 'https://auth.docker.io/token', 'trusted'],
    ['https://registry.gitlab.com', 'https://gitlab.com/jwt/auth', 'trusted'],
    ['https://registry.example.com', 'https://evil.com/token', 'stranger'],
    ['https://registry.example.com', 'https://example.com.evil.net/token', 'stranger'],
    ['https://registry.example.com', 'https://evilexample.com/token', 'stranger'],
    ['https://example.com', 'https://evil.com/token', 'stranger'],
    ['https://example.co.uk', 'https://evil.co.uk/token', 'stranger'],
    ['https://example.co.uk', 'https://auth.example.co.uk/token', 'trusted'],
    ['https://registry.example.co.uk', 'https://example.co.uk/token', 'trusted'],
    ['https://registry.example.co.uk', 'https://evil.co.uk/token', 'stranger'],
    ['https://me.github.io', 'https://evil.github.io/token', 'stranger'],
    ['https://me.github.io', 'https://github.io/token', 'stranger'],
    ['https://mine.fly.dev', 'https://evil.fly.dev/token', 'stranger'],
    ['https://a.kawasaki.jp', 'https://b.kawasaki.jp/token', 'stranger'],
    ['https://shop.city.kawasaki.jp', 'https://auth.city.kawasaki.jp/token', 'trusted'],
    ['https://co.uk', 'https://evil.co.uk/token', 'stranger'],
    ['https://mine.公司.cn', 'https://evil.公司.cn/token', 'stranger'],
    ['https://registry.corp', 'https://auth.corp/token', 'stranger'],
    ['https://registry.team.corp', 'https://auth.team.corp/token', 'trusted'],
    ['https://registry', 'https://auth/token', 'stranger'],
    ['https://example.com', 'https://auth.example.com/token', 'trusted'],
    ['https://auth.example.com', 'https://auth.example.com.evil.net/token', 'stranger'],
    ['https://registry.example.com:443', 'https://registry.example.com/token', 'trusted'],
    ['https://registry.example.com', 'https://registry.example.com:443/token', 'trusted'],
    ['http://registry.example.com', 'http://registry.example.com:80/token', 'trusted'],
    ['http://registry.example.com:80', 'http://REGISTRY.example.com/token', 'trusted'],
    ['http://registry.example.com:443', 'http://registry.example.com/token', 'stranger'],
    ['https://bücher.example', 'https://xn--bcher-kva.example/token', 'trusted'],
    ['https://[2001:DB8:0:0::1]', 'https://[2001:db8::1]/token', 'trusted'],
    ['https://[2001:db8::1]', 'https://[2001:db8::2]/token', 'refused'],
    ['https://registry.example.com', 'https://tokens.partner.net/token', 'trusted'],
    ['https://registry.example.com', 'https://tokens.partner.net:443/token', 'trusted'],
    ['https://registry.example.com', 'https://TOKENS.partner.net/token', 'trusted'],
    ['https://registry.example.com', 'https://tokens.partner.net:8443/token', 'stranger'],
    ['https://registry.example.com', 'https://below.tokens.partner.net/token', 'stranger'],
    ['http://registry.example.com', 'http://tokens.partner.net/token', 'trusted'],
    ['https://registry.example.com', 'https://tokens.secure.net/token', 'trusted'],
    ['http://registry.example.com', 'http://tokens.secure.net/token', 'stranger'],
    ['http://registry.example.com', 'http://tokens.secure.net:443/token', 'stranger'],
    ['https://registry.example.com', 'https://tokens.other.net:8443/token', 'trusted'],
    ['https://registry.example.com', 'https://tokens.other.net/token', 'stranger'],
    ['https://registry.example.com', 'https://user:password@registry.example.com/token', 'refused'],
    ['https://registry.example.com', 'https://user@registry.example.com/token', 'refused'],
    ['https://registry.example.com', 'https://:password@registry.example.com/token', 'refused'],
    ['http://registry.example.com', 'https://registry.example.com/token', 'trusted'],
    ['https://registry.example.com', 'https://localhost.evil.net/token', 'stranger'],
    ['https://registry.example.com', 'https://169.254.169.254/latest', 'refused'],
    ['https://registry.example.com', 'https://2852039166/latest', 'refused'],
    ['https://registry.example.com', 'https://[::1]/token', 'refused'],
    ['https://registry.example.com', 'https://localhost:6443/token', 'refused'],
    ['https://registry.example.com', 'https://localhost./token', 'refused'],
    ['https://registry.example.com', 'https://api.localhost/token', 'refused'],
    ['http://localhost:5000', 'http://localhost:5001/token', 'stranger'],
    ['http://192.0.2.1:5000', 'http://192.0.2.1:5001/token', 'stranger'],
    ['https://192.0.2.1', 'https://192.0.2.1/token', 'trusted'],
    ['https://192.0.2.1', 'https://9.0.2.1/token', 'refused'],
    ['https://registry.example.com', 'file:///etc/passwd', 'refused'],
  ];
  for (const [registry, realm, trust] of cases) {
    it(`finds ${realm} ${trust} for ${registry}`, async () => {
      const [scheme = '', host = ''] = registry.split('://');
      const { registry: parsed } = parseUpstream({ repo: `${host}/a`, scheme });
      expect(await judgeRealm(new URL(realm), parsed, TRUSTED)).to.equal(trust);
    });
  }
});

describe('parseTrustedRealm', () => {
  const cases: [text: string, expected: string | undefined][] = [
    ['auth.example.com', 'auth.example.com'],
    ['Auth.EXAMPLE.com', 'auth.example.com'],
    ['auth.example.com:8443', 'auth.example.com:8443'],
    ['auth.example.com:443', 'auth.example.com:443'],
    ['auth.example.com:0443', 'auth.example.com:443'],
    ['https://auth.example.com', 'auth.example.com:443'],
    ['HTTPS://auth.example.com/', 'auth.example.com:443'],
    ['http://auth.example.com', 'auth.example.com:80'],
    ['https://auth.example.com:8443', 'auth.example.com:8443'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['[2001:DB8:0::1]:5001', '[2001:db8::1]:5001'],
    ['192.0.2.7', '192.0.2.7'],
    ['tokens', 'tokens'],
    ['', undefined],
    ['*.example.com', undefined],
    ['.example.com', undefined],
    ['user@auth.example.com', undefined],
    ['https://auth.example.com/token', undefined],
    ['auth.example.com/token', undefined],
    ['auth.example.com?service=a', undefined],
    ['ftp://auth.example.com', undefined],
    ['auth.example.com:0', undefined],
    ['auth.example.com:65536', undefined],
    ['auth.example.com:https', undefined],
    ['auth.example.com, other.example.com', undefined],
    ['192.0.2.999', undefined],
    ['2001:db8::1', undefined],
    ['[2001:db8::1', undefined],
  ];
  for (const [text, expected] of cases) {
    it(`reads [${text}] as ${String(expected)}`, () => {
      expect(parseTrustedRealm(text)).to.equal(expected);
    });
  }

  it('reads its own output', () => {
    const written = cases.flatMap(([, expected]) => expected ?? []);
    expect(written.map(parseTrustedRealm)).to.deep.equal(written);
  });

  it('reads 64 KiB of any text in linear time', () => {
    expectLinear(['https://', 'a', '.', ':', '[', ']', '/', '@', '443', ' ', 'ä'], parseTrustedRealm);
  });
});

describe('isTrustedRealm', () => {
  const cases: [url: string, entry: string, expected: boolean][] = [
    ['https://auth.example.com/token', 'auth.example.com', true],
    ['https://auth.example.com:443/token', 'auth.example.com', true],
    ['http://auth.example.com/token', 'auth.example.com', true],
    ['https://auth.example.com/token', 'https://auth.example.com', true],
    ['http://auth.example.com:443/token', 'https://auth.example.com', false],
    ['http://auth.example.com/token', 'https://auth.example.com', false],
    ['https://auth.example.com:8443/token', 'auth.example.com', false],
    ['https://auth.example.com:8443/token', 'https://AUTH.example.com:8443', true],
    ['https://auth.example.com/token', 'example.com', false],
    ['https://auth.example.com.evil.net/token', 'auth.example.com', false],
    ['https://[2001:db8::1]/token', '[2001:DB8:0::1]', true],
  ];
  for (const [url, entry, expected] of cases) {
    it(`finds ${url} ${expected ? '' : 'not '}named by ${entry}`, () => {
      expect(isTrustedRealm(new URL(url), [parseTrustedRealm(entry) ?? ''])).to.equal(expected);
    });
  }
});
