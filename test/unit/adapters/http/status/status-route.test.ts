import { expect } from 'chai';
import got, { type Got } from 'got';
import { createHash } from 'node:crypto';
import sinon from 'sinon';
import type { Explanation } from '../../../../../src/application/explain-package.ts';
import { explanationOf } from '../../../../support/explanation.ts';
import { type RunningApp, startHttpApp } from '../../../../support/http-app.ts';
import { makePackage } from '../../../../support/image.ts';

const { digest } = makePackage(1);

describe('GET /status', () => {
  const explain = { execute: sinon.stub() };
  let app: RunningApp;
  let client: Got;
  beforeEach(async () => {
    explain.execute.reset();
    explain.execute.callsFake(async (request: Explanation['request']) => explanationOf(request));
    app = await startHttpApp({
      explain,
      readiness: [async () => 'the cache directory cannot be written', async () => undefined],
    });
    client = got.extend({ prefixUrl: app.url, retry: { limit: 0 }, throwHttpErrors: false });
  });
  afterEach(() => app.close());

  it('answers with a page that can run and load only its own files, in no frame and no cache', async () => {
    const { statusCode, headers, body } = await client('status');
    expect(statusCode).to.equal(200);
    expect(headers).to.include({
      'content-type': 'text/html; charset=utf-8',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-resource-policy': 'same-origin',
      'cache-control': 'no-store',
    });
    const hashOf = (element: string): string => {
      const [, text = ''] = new RegExp(`<${element}>(.*?)</${element}>`, 's').exec(body) ?? [];
      expect(text.length).to.be.greaterThan(1000);
      return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
    };
    expect(String(headers['content-security-policy']).split('; ')).to.deep.equal([
      "default-src 'none'",
      `style-src ${hashOf('style')}`,
      `script-src ${hashOf('script')}`,
      'img-src data:',
      "connect-src 'self'",
      "form-action 'self'",
      "base-uri 'none'",
      "frame-ancestors 'none'",
    ]);
    expect(body).not.to.match(/ style=| on\w+=|javascript:|https?:\/\/(?!www\.w3\.org)/);
    expect(body).to.include('Not ready: the cache directory cannot be written');
  });

  it('waits two seconds for the readiness checks, and shows a check without an answer', async () => {
    const clock = sinon.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const asked = Promise.withResolvers<undefined>();
    const hanging = async (): Promise<undefined> => {
      asked.resolve(undefined);
      return new Promise(() => undefined);
    };
    const stuck = await startHttpApp({ readiness: [async () => 'credentials are not listed', hanging] });
    try {
      const response = fetch(`${stuck.url}/status`);
      await asked.promise;
      clock.tick(2000);
      const text = await (await response).text();
      expect(text).to.include('credentials are not listed').and.include('a readiness check does not answer');
    } finally {
      clock.restore();
      await stuck.close();
    }
  });

  it('answers HEAD with the same headers', async () => {
    const [get, head] = [await client('status'), await client.head('status')];
    for (const name of ['content-type', 'content-security-policy', 'cache-control'] as const) {
      expect(head.headers[name]).to.equal(get.headers[name]);
    }
    expect(head.body).to.equal('');
  });

  it('explains a request, and sends no request if the form is empty', async () => {
    await client('status');
    expect(explain.execute.called).to.equal(false);
    const searchParams = { digest, repository: 'registry.example/modules', path: 'ingress' };
    const { statusCode, body } = await client('status', { searchParams });
    expect(statusCode).to.equal(200);
    expect(explain.execute.args).to.deep.equal([[searchParams]]);
    expect(body).to.include('✗ fail (404 NAME_UNKNOWN)').and.include('repository is not known');
  });

  it('answers 400 with the page that shows the mistake at its field', async () => {
    const { statusCode, body } = await client('status', { searchParams: { digest: 'latest' } });
    expect(statusCode).to.equal(400);
    expect(body).to.include('✗ digest must be &quot;sha256:&quot; and 64 lower-case hex digits.');
    expect(explain.execute.called).to.equal(false);
  });

  it('answers with the same data as JSON to a program', async () => {
    const { statusCode, headers, body } = await client('status', { headers: { accept: 'application/json' } });
    expect(statusCode).to.equal(200);
    expect(headers).to.include({ 'content-type': 'application/json; charset=utf-8', vary: 'Accept' });
    expect(JSON.parse(body)).to.deep.include({
      version: '0.0.0',
      node: null,
      ready: false,
      missing: ['the cache directory cannot be written'],
      failures: [],
      packages: { total: 0, list: [] },
      explanation: null,
    });
    const accept = 'text/html,application/xhtml+xml,*/*;q=0.8';
    expect((await client('status', { headers: { accept } })).headers['content-type']).to.include('text/html');
    expect((await client('status', { headers: { accept: '*/*' } })).headers['content-type']).to.include('text/html');
  });

  it('answers with the explanation as JSON to a program, and with an error instead of a form', async () => {
    const options = { headers: { accept: 'application/json' } };
    const explained = await client('status', { ...options, searchParams: { digest } });
    expect(JSON.parse(explained.body)).to.have.nested.property('explanation.request.digest', digest);
    const { statusCode, body } = await client('status', { ...options, searchParams: { digest: 'latest' } });
    expect(statusCode).to.equal(400);
    expect(JSON.parse(body)).to.include({ code: 'DIGEST_INVALID' });
  });

  it('is the target of the redirect of /', async () => {
    const { statusCode, headers } = await client('', { followRedirect: false });
    expect([statusCode, headers.location]).to.deep.equal([307, '/status']);
    expect((await client('', { followRedirect: false, headers: { host: 'evil.example' } })).statusCode).to.equal(400);
    expect((await client.post('', { followRedirect: false })).statusCode).to.equal(405);
    expect((await client('')).body).to.include('Not ready');
  });

  it('refuses a query that two parsers could read differently', async () => {
    const { statusCode, body } = await client(`status?digest=${digest}&digest=${digest}`);
    expect(statusCode).to.equal(400);
    expect(body).to.equal('repeated query parameter "digest"\n');
  });

  it('answers to addresses and localhost, and to no foreign host name, which DNS rebinding could use', async () => {
    const statusFor = async (host: string): Promise<number> =>
      (await client('status', { headers: { host } })).statusCode;
    for (const host of [
      'localhost',
      'localhost:5080',
      'LOCALHOST',
      'a.localhost:1',
      'registry-packages-proxy.d8-cloud-instance-manager.svc:4219',
      'registry-packages-proxy.d8-cloud-instance-manager.svc.cluster.local',
      'registry-packages-proxy.d8-cloud-instance-manager.svc.cluster.local:443',
      '127.0.0.1:5080',
      '192.0.2.1',
      '[::1]:5080',
    ]) {
      expect(await statusFor(host), host).to.equal(200);
    }
    for (const host of [
      'evil.example',
      'localhost.evil.example',
      '127.0.0.1.evil.example:5080',
      'notlocalhost',
      'a.b.svc.evil.example',
      'b.svc',
      'a.b.svc:5080',
      'a.b.svc.cluster.local:8080',
      'a.b.svc:',
      'a.b.svc:42190',
    ]) {
      expect(await statusFor(host), host).to.equal(400);
    }
  });
});
