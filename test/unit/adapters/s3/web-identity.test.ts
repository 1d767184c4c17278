import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { inspect } from 'node:util';
import { senderTo } from '../../../../src/adapters/s3/s3-bucket.ts';
import { serverOf } from '../../../../src/adapters/s3/s3-location.ts';
import { WebIdentityKeys } from '../../../../src/adapters/s3/web-identity.ts';
import { UpstreamDeniedError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { rejection } from '../../../support/rejection.ts';

const START = Date.parse('2030-01-01T00:00:00Z');
const HOUR = 3_600_000;

describe('WebIdentityKeys', () => {
  let server: Server;
  let directory: string;
  let now: number;
  let forms: URLSearchParams[];
  let authorizations: (string | undefined)[];
  let answer: () => { readonly status: number; readonly body: string };
  beforeEach(async () => {
    now = START;
    forms = [];
    authorizations = [];
    answer = () => ({ status: 200, body: granted(`ASIA${String(forms.length)}`, now + HOUR) });
    server = createServer((request, response) => {
      void text(request).then((body) => {
        forms.push(new URLSearchParams(body));
        authorizations.push(request.headers.authorization);
        const { status, body: xml } = answer();
        response.writeHead(status).end(xml);
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
    now = START + HOUR - 301_000;
    expect((await keys.current()).accessKeyId).to.equal('ASIA1');
    await writeFile(join(directory, 'token'), 'canary.rotated');
    now = START + HOUR - 299_000;
    expect((await keys.current()).accessKeyId).to.equal('ASIA2');
    expect(forms[1]?.get('WebIdentityToken')).to.equal('canary.rotated');
  });

  it('uses valid keys while it cannot get new ones, and retries every ten seconds', async () => {
    const keys = open();
    await keys.current();
    answer = () => ({ status: 500, body: '' });
    now = START + HOUR - 200_000;
    expect((await keys.current()).accessKeyId).to.equal('ASIA1');
    expect((await keys.current()).accessKeyId).to.equal('ASIA1');
    expect(forms).to.have.lengthOf(2);
    now = START + HOUR;
    expect(await rejection(keys.current())).to.be.instanceOf(UpstreamUnavailableError);
    expect(forms).to.have.lengthOf(3);
  });

  it('requests new keys when they are refused', async () => {
    const keys = open();
    await keys.current();
    keys.refused();
    expect((await keys.current()).accessKeyId).to.equal('ASIA2');
  });

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
    'no end': granted('ASIA1', 0).replace(/<Expiration>.*<\/Expiration>/, ''),
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
