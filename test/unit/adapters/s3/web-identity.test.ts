import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { inspect } from 'node:util';
import sinon from 'sinon';
import { senderTo } from '../../../../src/adapters/s3/s3-bucket.ts';
import { serverOf } from '../../../../src/adapters/s3/s3-location.ts';
import { WebIdentityKeys } from '../../../../src/adapters/s3/web-identity.ts';
import { UpstreamDeniedError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { rejection } from '../../../support/rejection.ts';

/** The time at the token service. */
const START = Date.parse('2030-01-01T00:00:00Z');
const SECOND = 1000;
const HOUR = 3_600_000;

describe('WebIdentityKeys', () => {
  let server: Server;
  let directory: string;
  /** Milliseconds since the start, on the monotonic clock. */
  let now: number;
  let forms: URLSearchParams[];
  let authorizations: (string | undefined)[];
  let answer: () => { readonly status: number; readonly body: string };
  beforeEach(async () => {
    now = 0;
    forms = [];
    authorizations = [];
    answer = () => ({ status: 200, body: granted(`ASIA${String(forms.length)}`, START + now + HOUR) });
    server = createServer((request, response) => {
      void text(request).then((body) => {
        forms.push(new URLSearchParams(body));
        authorizations.push(request.headers.authorization);
        const { status, body: xml } = answer();
        response.writeHead(status, { date: new Date(START + now).toUTCString() }).end(xml);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    directory = await mkdtemp(join(tmpdir(), 'web-identity-'));
    await writeFile(join(directory, 'token'), 'canary.service.account\n');
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await rm(directory, { recursive: true });
  });

  const open = (tokenFile = 'token'): WebIdentityKeys => {
    const endpoint = new URL(`http://127.0.0.1:${String((server.address() as AddressInfo).port)}/`);
    const send = senderTo(serverOf(endpoint, []), {
      connectTimeoutMs: 1000,
      headersTimeoutMs: 1000,
      idleTimeoutMs: 1000,
      retryTimeoutMs: 0,
      userAgent: 'test',
      environment: {},
    });
    const roleARN = 'arn:aws:iam::1:role/packages';
    return new WebIdentityKeys({ endpoint, roleARN, tokenFile: join(directory, tokenFile), send, now: () => now });
  };

  it('requests the keys of the role once with the token, unsigned, and shows no key', async () => {
    const keys = open();
    const [first] = await Promise.all([keys.current(), keys.current()]);
    expect(first.accessKeyId).to.equal('ASIA1');
    expect(first.secretAccessKey.reveal()).to.equal('canary-secret');
    expect(first.sessionToken?.reveal()).to.equal('canary-session');
    expect(`${JSON.stringify(first)}${inspect(keys, { depth: 9 })}`).not.to.include('canary-s');
    expect(authorizations).to.deep.equal([undefined]);
    expect(Object.fromEntries(forms[0] ?? [])).to.deep.equal({
      Action: 'AssumeRoleWithWebIdentity',
      Version: '2011-06-15',
      RoleArn: 'arn:aws:iam::1:role/packages',
      RoleSessionName: 'registry-packages-proxy',
      WebIdentityToken: 'canary.service.account',
    });
  });

  it('renews the keys five minutes before their expiry, with the current token', async () => {
    const keys = open();
    await keys.current();
    now = HOUR - 301 * SECOND;
    expect((await keys.current()).accessKeyId).to.equal('ASIA1');
    await writeFile(join(directory, 'token'), 'canary.rotated');
    now = HOUR - 299 * SECOND;
    expect((await keys.current()).accessKeyId).to.equal('ASIA2');
    expect(forms[1]?.get('WebIdentityToken')).to.equal('canary.rotated');
  });

  it('uses valid keys while it cannot get new ones, and retries every ten seconds', async () => {
    const keys = open();
    await keys.current();
    answer = () => ({ status: 500, body: '' });
    now = HOUR - 200 * SECOND;
    expect((await keys.current()).accessKeyId).to.equal('ASIA1');
    expect((await keys.current()).accessKeyId).to.equal('ASIA1');
    expect(forms).to.have.lengthOf(2);
    now = HOUR;
    expect(await rejection(keys.current())).to.be.instanceOf(UpstreamUnavailableError);
    expect(forms).to.have.lengthOf(3);
  });

  it('requests new keys when they are refused, at most every ten seconds', async () => {
    const keys = open();
    await keys.current();
    keys.refused();
    expect((await keys.current()).accessKeyId).to.equal('ASIA1');
    now = 10 * SECOND;
    expect((await keys.current()).accessKeyId).to.equal('ASIA2');
    expect((await keys.current()).accessKeyId).to.equal('ASIA2');
  });

  for (const [what, ms] of [
    ['fast by a year', 365 * 24 * HOUR],
    ['slow by a year', -365 * 24 * HOUR],
  ] as const) {
    it(`uses keys for their lifetime when the wall clock is ${what}, and asks again after it was set`, async () => {
      const clock = sinon.useFakeTimers({ now: START + ms, toFake: ['Date'] });
      const keys = open();
      try {
        answer = () => ({ status: 500, body: '' });
        await rejection(keys.current());
        clock.setSystemTime(START);
        now = 10 * SECOND;
        answer = () => ({ status: 200, body: granted('ASIA', START + now + HOUR) });
        expect((await keys.current()).accessKeyId).to.equal('ASIA');
        clock.setSystemTime(START + ms);
        expect((await keys.current()).accessKeyId).to.equal('ASIA');
        expect(forms).to.have.lengthOf(2);
      } finally {
        clock.restore();
      }
    });
  }

  it('reports the code of a refusal, and uses no other identity', async () => {
    answer = () => ({ status: 403, body: '<Error><Code>AccessDenied</Code><Message>canary</Message></Error>' });
    const keys = open();
    const error = await rejection(keys.current());
    expect(error).to.be.instanceOf(UpstreamDeniedError);
    expect((error.cause as Error).message).to.match(/^token from 127\.0\.0\.1:\d+: status 403 AccessDenied$/);
    await rejection(keys.current());
    expect(forms).to.have.lengthOf(1);
  });

  for (const [what, body] of Object.entries({
    'no keys': '<AssumeRoleWithWebIdentityResponse/>',
    'no end': granted('ASIA1', START).replace(/<Expiration>.*<\/Expiration>/, ''),
    'no end to the answer': 'x'.repeat(100_000),
  })) {
    it(`refuses an answer that has ${what}`, async () => {
      answer = () => ({ status: 200, body });
      expect(await rejection(open().current())).to.be.instanceOf(UpstreamUnavailableError);
    });
  }

  it('reports a token file that cannot be read', async () => {
    const error = await rejection(open('absent').current());
    expect((error.cause as Error).message).to.equal(`token file ${join(directory, 'absent')} cannot be read`);
    expect(forms).to.deep.equal([]);
  });
});

function granted(accessKeyId: string, endsAt: number): string {
  return `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>${accessKeyId}</AccessKeyId><SecretAccessKey>canary-secret</SecretAccessKey>
<SessionToken>canary-session</SessionToken><Expiration>${new Date(endsAt).toISOString()}</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`;
}
