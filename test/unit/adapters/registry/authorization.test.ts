import { expect } from 'chai';
import { Authorization } from '../../../../src/adapters/registry/authorization.ts';
import { HttpClient } from '../../../../src/adapters/registry/http-client.ts';
import { basic } from '../../../../src/domain/credential.ts';
import type { Registry } from '../../../../src/domain/upstream.ts';

describe('Authorization', () => {
  it('remembers the last thousand repositories, however many are asked for', async () => {
    const registry: Registry = { scheme: 'https', host: 'registry.test', credential: basic('robot', 'x'), ca: [] };
    const client = new HttpClient(registry, {
      connectTimeoutMs: 1,
      headersTimeoutMs: 1,
      idleTimeoutMs: 1,
      attempts: 1,
      userAgent: 'test',
      environment: {},
      trustedRealms: [],
    });
    const authorization = new Authorization({ registry, client, trustedRealms: [], idleTimeoutMs: 1, now: () => 0 });
    const signal = new AbortController().signal;
    for (let i = 0; i <= 1000; i++) await authorization.answer('Basic realm="a"', String(i), undefined, signal);
    expect(authorization.remembered('0')).to.equal(undefined);
    expect(authorization.remembered('1')).to.be.a('string');
    expect(authorization.remembered('1000')).to.be.a('string');
  });
});
