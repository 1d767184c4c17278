import { expect } from 'chai';
import { isTrustedRealm, parseTrustedRealm } from '../../../../../src/adapters/registry/auth/trusted-realm.ts';
import { expectLinear } from '../../../../support/hostile-text.ts';

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

  it('reads back what it has written', () => {
    const written = cases.flatMap(([, expected]) => expected ?? []);
    expect(written.map(parseTrustedRealm)).to.deep.equal(written);
  });

  it('reads 64 KiB of anything in linear time', () => {
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
