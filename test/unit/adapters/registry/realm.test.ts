import { expect } from 'chai';
import { judgeRealm } from '../../../../src/adapters/registry/realm.ts';
import { parseUpstream } from '../../../../src/domain/upstream.ts';

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
    ['https://registry.example.com', 'https://tokens.partner.net/token', 'trusted'],
    ['https://registry.example.com', 'https://tokens.partner.net:8443/token', 'stranger'],
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
    it(`finds ${realm} ${trust} for ${registry}`, () => {
      const { protocol, host } = new URL(registry);
      const { registry: parsed } = parseUpstream({ repo: `${host}/a`, scheme: protocol.slice(0, -1) });
      expect(judgeRealm(new URL(realm), parsed, ['tokens.partner.net'])).to.equal(trust);
    });
  }
});
