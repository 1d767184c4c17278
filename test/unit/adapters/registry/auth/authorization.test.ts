import { expect } from 'chai';
import { gzipSync } from 'node:zlib';
import { Authorization } from '../../../../../src/adapters/registry/auth/authorization.ts';
import { sharePools } from '../../../../../src/adapters/registry/transport/agents.ts';
import { HttpClient } from '../../../../../src/adapters/registry/transport/http-client.ts';
import { ANONYMOUS, basic, type Credential, Secret } from '../../../../../src/domain/credential.ts';
import { UpstreamDeniedError, UpstreamUnavailableError } from '../../../../../src/domain/errors.ts';
import type { Registry } from '../../../../../src/domain/upstream.ts';
import { BASIC, FakeRegistry, PASSWORD, USERNAME } from '../../../../support/fake-registry.ts';
import { rejection } from '../../../../support/rejection.ts';

const ROBOT = basic(USERNAME, PASSWORD);
const IDENTITY: Credential = { kind: 'identity', token: new Secret('canary-refresh') };
const signal = new AbortController().signal;

describe('Authorization', () => {
  let tokens: FakeRegistry;
  let now: number;
  beforeEach(async () => {
    tokens = await FakeRegistry.start({ auth: 'bearer' });
    now = 0;
  });
  afterEach(() => tokens.close());

  /** The authorization for a registry on the host of the token server, unless `host` is given. */
  function enter(
    credential: Credential,
    { scheme = 'http', host = tokens.host }: Partial<Registry> = {},
  ): Authorization {
    const registry: Registry = { scheme, host, credential, ca: [] };
    const settings = {
      connectTimeoutMs: 1000,
      headersTimeoutMs: 1000,
      idleTimeoutMs: 1000,
      retryTimeoutMs: 0,
      userAgent: 'test',
      environment: {},
      trustedRealms: [],
      traceHeaders: () => ({}),
    };
    const client = new HttpClient(registry, { ...settings, pools: sharePools(1000, {}) });
    return new Authorization({ registry, client, trustedRealms: [], idleTimeoutMs: 1000, now: () => now });
  }

  const bearer = (rest = ''): string => `Bearer realm="${tokens.origin}/token"${rest}`;

  it('remembers the last thousand repositories, however many are requested', async () => {
    const authorization = enter(ROBOT);
    for (let i = 0; i <= 1000; i++) await authorization.answer('Basic realm="a"', String(i), undefined, signal);
    expect(authorization.remembered('0')).to.equal(undefined);
    expect(authorization.remembered('1')).to.equal(BASIC);
    expect(authorization.remembered('1000')).to.equal(BASIC);
  });

  it('drops no other repository when one is requested again', async () => {
    const authorization = enter(ROBOT);
    for (let i = 0; i < 1000; i++) await authorization.answer('Basic realm="a"', String(i), undefined, signal);
    await rejection(authorization.answer('Basic realm="a"', '999', BASIC, signal));
    await authorization.answer('Basic realm="a"', '999', undefined, signal);
    expect(authorization.remembered('0')).to.equal(BASIC);
  });

  it('uses a token for exactly four fifths of its lifetime', async () => {
    tokens.tokenFields = { expires_in: 100 };
    const authorization = enter(ROBOT);
    now = 5000;
    const header = await authorization.answer(bearer(), 'a', undefined, signal);
    now = 84_999;
    expect(authorization.remembered('a')).to.equal(header);
    now = 85_000;
    expect(authorization.remembered('a')).to.equal(undefined);
  });

  it('uses a token that another request has got meanwhile', async () => {
    const authorization = enter(ROBOT);
    const header = await authorization.answer(bearer(), 'a', undefined, signal);
    expect(await authorization.answer(bearer(), 'a', 'Bearer old', signal)).to.equal(header);
    expect(tokens.requests('/token')).to.have.lengthOf(1);
    expect(await authorization.answer(bearer(), 'a', header, signal)).not.to.equal(header);
    expect(tokens.requests('/token')).to.have.lengthOf(2);
  });

  it('drops a refused token, also if it cannot get another one', async () => {
    const authorization = enter(ROBOT);
    const header = await authorization.answer(bearer(), 'a', undefined, signal);
    await rejection(authorization.answer('Negotiate', 'a', header, signal));
    expect(authorization.remembered('a')).to.equal(undefined);
  });

  it('sends a service only if the challenge has one', async () => {
    const queries = (): (string | null)[] =>
      tokens.requests('/token').map(({ url }) => new URL(url, tokens.origin).searchParams.get('service'));
    const authorization = enter(ROBOT);
    await authorization.answer(bearer(), 'a', undefined, signal);
    await authorization.answer(bearer(',service="a, b"'), 'b', undefined, signal);
    expect(queries()).to.deep.equal([null, 'a, b']);
  });

  it('sends the client and the scope in the exchange of an identity token', async () => {
    const authorization = enter(IDENTITY);
    await authorization.answer(bearer(), 'a/b', undefined, signal);
    await authorization.answer(bearer(',service="s"'), 'c', undefined, signal);
    const form = { grant_type: 'refresh_token', refresh_token: 'canary-refresh', client_id: 'registry-packages-proxy' };
    expect(tokens.log.map(({ body }) => Object.fromEntries(new URLSearchParams(body)))).to.deep.equal([
      { ...form, scope: 'repository:a/b:pull' },
      { ...form, scope: 'repository:c:pull', service: 's' },
    ]);
  });

  it('requests the other repositories in a challenge, and no other scope', async () => {
    const scope =
      'repository:mirror/a:pull,push xrepository:b:pull repository:c:pull; registry:catalog:* repository:a:pull';
    const authorization = enter(IDENTITY);
    await authorization.answer(bearer(`,scope="${scope}"`), 'a', undefined, signal);
    const asked = new URLSearchParams(tokens.log[0]?.body).get('scope');
    expect(asked).to.equal('repository:a:pull repository:mirror/a:pull');
  });

  it('requests an anonymous token from a foreign token server, and none with credentials', async () => {
    const elsewhere = { host: '127.0.0.1:1' };
    expect(await enter(ANONYMOUS, elsewhere).answer(bearer(), 'a', undefined, signal)).to.match(
      /^Bearer canary-token-/,
    );
    expect(tokens.log[0]?.headers.authorization).to.equal(undefined);
    await rejection(enter(ROBOT, elsewhere).answer(bearer(), 'a', undefined, signal));
    expect(tokens.log).to.have.lengthOf(1);
  });

  it('names the token server in the error about its answer', async () => {
    tokens.failTimes('/token', { status: 500 }, { status: 200, body: 'canary' });
    for (const what of ['status 500', 'answer is not JSON']) {
      const error = await rejection(enter(ROBOT).answer(bearer(), 'a', undefined, signal));
      expect(error).to.be.instanceOf(UpstreamUnavailableError);
      expect(error).to.have.nested.property('cause.message', `token from ${tokens.host}: ${what}`);
    }
  });

  for (const realm of ['/token', 'token', './token', '/token?account=a']) {
    it(`requests the token from the registry itself for the realm ${realm}, which has no host`, async () => {
      const header = await enter(ROBOT).answer(`Bearer realm="${realm}"`, 'a', undefined, signal);
      expect(header).to.match(/^Bearer canary-token-/);
      expect(tokens.requests('/token')[0]?.headers.authorization).to.equal(BASIC);
    });
  }

  it('uses the scheme of the registry for a realm without a scheme', async () => {
    await enter(ROBOT).answer(`Bearer realm="//${tokens.host}/token"`, 'a', undefined, signal);
    expect(tokens.requests('/token')).to.have.lengthOf(1);
  });

  for (const status of [200, 201, 203]) {
    it(`accepts a token with status ${String(status)}`, async () => {
      tokens.failTimes('/token', { status, body: '{"token":"canary-new\\n"}\n' });
      expect(await enter(ROBOT).answer(bearer(), 'a', undefined, signal)).to.equal('Bearer canary-new');
    });
  }

  const json = Buffer.from('{"token":"canary-new"}');
  const encodings: [what: string, label: string, body: Buffer, isToken: boolean][] = [
    ['compressed', 'gzip', gzipSync(json), true],
    ['compressed under the older name', 'X-GZIP', gzipSync(json), true],
    ['labelled only', 'gzip', json, true],
    ['labelled with nothing', 'identity', json, true],
    ['labelled by a storage', 'aws-chunked', json, true],
    ['compressed without a label', '', gzipSync(json), false],
    ['a bomb', 'gzip', gzipSync(Buffer.concat([json, Buffer.alloc(1024 * 1024, ' ')])), false],
    ['cut off', 'gzip', gzipSync(json).subarray(0, -12), false],
  ];
  for (const [what, label, body, isToken] of encodings) {
    it(`${isToken ? 'reads a' : 'reads no'} token from an answer that is ${what}`, async () => {
      tokens.script(({ url }, response) => {
        if (!url.startsWith('/token')) return false;
        response.writeHead(200, label === '' ? {} : { 'content-encoding': label }).end(body);
        return true;
      });
      const answer = enter(ROBOT).answer(bearer(), 'a', undefined, signal);
      if (isToken) expect(await answer).to.equal('Bearer canary-new');
      else expect(await rejection(answer)).to.be.instanceOf(UpstreamUnavailableError);
    });
  }

  it('answers the only one of several challenges that may get its credential', async () => {
    const stranger = await FakeRegistry.start();
    const far = `Bearer realm="${stranger.origin.replace('127.0.0.1', 'localhost')}/token"`;
    const header = await enter(ROBOT).answer(`${far}, Basic realm="a"`, 'a', undefined, signal);
    expect(header).to.equal(BASIC);
    const second = await enter(ROBOT).answer(`${far}, ${bearer()}, Basic realm="a"`, 'a', undefined, signal);
    expect(second).to.match(/^Bearer canary-token-/);
    const third = await enter(ROBOT).answer('Bearer realm="a b", Basic realm="a"', 'a', undefined, signal);
    expect(third).to.equal(BASIC);
    expect(stranger.log).to.deep.equal([]);
    await stranger.close();
  });

  const stranger = 'realm at tokens.stranger.test is not trusted with credentials (settings: registry.trustedRealms)';
  const denials: [challenge: string, credential: Credential, why: string][] = [
    ['Negotiate', ROBOT, 'status 401 without a challenge that is supported: is this a registry?'],
    ['', ROBOT, 'status 401 without a challenge that is supported: is this a registry?'],
    ['Basic realm="a"', ANONYMOUS, 'a password is required but not configured'],
    ['Bearer realm="a registry"', ROBOT, 'realm is not a URL'],
    ['Bearer realm="https://[::"', ROBOT, 'realm is not a URL'],
    ['Bearer realm=""', ROBOT, 'realm is not a URL'],
    ['Bearer realm="//169.254.169.254/latest"', ROBOT, 'realm at 169.254.169.254 is at a forbidden address'],
    ['Basic realm="a", Bearer realm="https://tokens.stranger.test/"', IDENTITY, stranger],
    ['Bearer realm="https://169.254.169.254/latest"', ROBOT, 'realm at 169.254.169.254 is at a forbidden address'],
    ['Bearer realm="https://169.254.169.254/latest"', ANONYMOUS, 'realm at 169.254.169.254 is at a forbidden address'],
    ['Bearer realm="https://tokens.stranger.test/"', ROBOT, stranger],
  ];
  for (const [challenge, credential, why] of denials) {
    it(`rejects "${challenge}" for ${credential.kind} with the reason`, async () => {
      const authorization = enter(credential, { scheme: 'https', host: 'registry.example.test' });
      const error = await rejection(authorization.answer(challenge, 'a', undefined, signal));
      expect(error).to.be.instanceOf(UpstreamDeniedError);
      expect(error).to.have.nested.property('cause.message', `token from registry.example.test: ${why}`);
    });
  }

  it('does not send a refused password again', async () => {
    const error = await rejection(enter(ROBOT).answer('Basic realm="a"', 'a', BASIC, signal));
    expect(error).to.be.instanceOf(UpstreamDeniedError);
    expect(error).to.have.nested.property('cause.message', `token from ${tokens.host}: credentials are refused`);
  });
});
