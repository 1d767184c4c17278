import { expect } from 'chai';
import got, { type Got } from 'got';
import sinon from 'sinon';
import type { Explanation } from '../../../../../src/application/explain-package.ts';
import { UpstreamDeniedError } from '../../../../../src/domain/errors.ts';
import { explanationOf } from '../../../../support/explanation.ts';
import { parseRepositoryName, parseRepositoryPath } from '../../../../../src/domain/reference.ts';
import { type RunningApp, startHttpApp } from '../../../../support/http-app.ts';
import { makePackage } from '../../../../support/image.ts';

const image = makePackage(1000);
const AT = new Date(Date.UTC(2026, 10, 25, 3));
const NOW = AT.toISOString();
const request = {
  digest: image.digest,
  repository: parseRepositoryName('registry.example/ee'),
  path: parseRepositoryPath('modules/a'),
};

const VALID = { kind: 'valid', format: 'cosign', key: 'c0ffee' } as const;

const bare = explanationOf(request);

describe('GET /explain', () => {
  const explain = { execute: sinon.stub() };
  let app: RunningApp;
  let client: Got;
  beforeEach(async () => {
    explain.execute.reset();
    explain.execute.resolves(bare);
    app = await startHttpApp({ explain });
    client = got.extend({ prefixUrl: app.url, retry: { limit: 0 }, throwHttpErrors: false });
  });
  afterEach(() => app.close());

  const ask = (extra = '') =>
    client(`explain?digest=${image.digest}&repository=registry.example/ee/&path=modules/a${extra}`);
  const documentOf = async (explanation: Explanation): Promise<unknown> => {
    explain.execute.resolves(explanation);
    return JSON.parse((await ask()).body);
  };

  it('accepts the query of /package, and forbids caches to store the answer', async () => {
    const answer = await ask();
    sinon.assert.calledOnceWithExactly(explain.execute, request);
    expect(answer.statusCode).to.equal(200);
    expect(answer.headers).to.include({
      'cache-control': 'no-store',
      'content-type': 'application/json; charset=utf-8',
      'x-content-type-options': 'nosniff',
    });
    await app.finishedCount(1);
    expect(app.finished[0]).to.deep.include({ route: '/explain', package: request });
  });

  for (const [what, query] of [
    ['no digest', ''],
    ['a repeated parameter', `?digest=${image.digest}&digest=${image.digest}`],
    ['a semicolon', `?digest=${image.digest};x`],
    ['a path that leads upwards', `?digest=${image.digest}&path=../x`],
  ]) {
    it(`refuses ${String(what)}`, async () => {
      expect((await client(`explain${String(query)}`)).statusCode).to.equal(400);
      sinon.assert.notCalled(explain.execute);
    });
  }

  it('answers no request for a foreign host name, which DNS rebinding could use', async () => {
    const answer = await client(`explain?digest=${image.digest}`, { headers: { host: 'rebound.example:5080' } });
    expect(answer.statusCode).to.equal(400);
    sinon.assert.notCalled(explain.execute);
  });

  it('shows the status and code of a request that would fail', async () => {
    expect(await documentOf(bare)).to.deep.equal({
      request,
      verdict: {
        outcome: 'fail',
        status: 404,
        code: 'NAME_UNKNOWN',
        reason: 'repository is not known to this proxy',
        cause: null,
        seen_at: null,
        retry_at: null,
      },
      configuration: {
        registry: null,
        upstream: null,
        error: { status: 404, code: 'NAME_UNKNOWN', detail: 'repository is not known to this proxy' },
        sources: [],
        asked_before: [],
        known_repositories: [],
        image_roots: [],
      },
      layer: null,
      kept: { manifest: null, layer: null },
      fill: null,
      signature: null,
      answers: { manifest: null, layer: null, latest: null },
      failures: [],
    });
  });

  it('shows all known facts', async () => {
    const upstream = {
      scheme: 'https',
      host: 'registry.example',
      repository: undefined,
      credential: { kind: 'basic', user: 'robot' },
      certificates: 1,
      dialled: { by: 'agent', host: '127.0.0.1:5001' },
    } as const;
    const registry = { resource: 'modulesources', object: 'a', names: [request.repository], upstream };
    const kept = { digest: image.digest, size: 400, storedAt: AT, usedAt: AT, verifiedAt: undefined };
    const answer = {
      operation: 'blob',
      host: 'registry.example',
      repository: undefined,
      digest: image.layer.descriptor.digest,
      at: AT,
      code: 'OK',
      detail: '',
      cause: undefined,
    } as const;
    const failure = { status: 504, code: 'UPSTREAM_TIMEOUT', detail: 'too late', cause: 'ETIMEDOUT', count: 2 };
    const document = await documentOf({
      request,
      verdict: { outcome: 'joined', reason: 'arriving', needsRegistry: true },
      configuration: {
        registry,
        upstream,
        error: undefined,
        sources: [
          {
            resource: 'modulesources',
            listedAt: undefined,
            objects: 0,
            rejected: [{ object: 'b', reason: 'ca: has no PEM certificate' }],
            failure: { at: AT, reason: 'list: Kubernetes API answered 403' },
          },
        ],
        askedBefore: [
          {
            kind: 'bucket',
            name: 's3.example',
            resting: { until: AT, reason: 'failed' },
            isFailing: true,
            distrusted: 2,
          },
        ],
        known: [registry],
        imageRoots: [
          { host: 'registry.example', repository: parseRepositoryPath('ee'), answer: undefined },
          {
            host: 'registry.example',
            repository: undefined,
            answer: { at: AT, image: parseRepositoryPath('deckhouse-cli'), error: new UpstreamDeniedError() },
          },
        ],
      },
      layer: image.layer.descriptor,
      cached: { manifest: kept, layer: { ...kept, verifiedAt: AT } },
      download: {
        request,
        layer: image.layer.descriptor,
        bytes: 600,
        startedAt: AT,
        clients: 1,
        isQueued: false,
        source: undefined,
      },
      signature: { mode: 'enforce', finding: { request, verdict: VALID, verifiedAt: AT, index: image.digest } },
      answers: { manifest: undefined, layer: answer, latest: answer },
      failures: [{ ...failure, request, firstAt: AT, lastAt: AT }],
    });
    const shownAnswer = { ...answer, repository: null, at: NOW, cause: null };
    const shownKept = { digest: image.digest, size: 400, stored_at: NOW, used_at: NOW, verified_at: null };
    expect(document).to.deep.equal({
      request,
      verdict: { outcome: 'joined', status: 200, reason: 'arriving', needs_registry: true },
      configuration: {
        registry: { resource: 'modulesources', object: 'a', names: ['registry.example/ee'] },
        upstream: { ...upstream, repository: null },
        error: null,
        sources: [
          {
            resource: 'modulesources',
            listed_at: null,
            objects: 0,
            rejected: [{ object: 'b', reason: 'ca: has no PEM certificate' }],
            failure: { at: NOW, reason: 'list: Kubernetes API answered 403' },
          },
        ],
        asked_before: [
          { kind: 'bucket', host: 's3.example', rests: { until: NOW, reason: 'failed' }, failing: true, distrusted: 2 },
        ],
        known_repositories: ['registry.example/ee'],
        image_roots: [
          { host: 'registry.example', repository: 'ee', answer: null },
          {
            host: 'registry.example',
            repository: null,
            answer: {
              at: NOW,
              image: 'deckhouse-cli',
              code: 'UPSTREAM_DENIED',
              detail: 'registry refused the configured credentials',
            },
          },
        ],
      },
      layer: image.layer.descriptor,
      kept: { manifest: shownKept, layer: { ...shownKept, verified_at: NOW } },
      fill: { bytes: 600, size: 1000, started_at: NOW },
      signature: {
        mode: 'enforce',
        verdict: 'valid',
        format: 'cosign',
        key: 'c0ffee',
        reason: null,
        index: image.digest,
        verified_at: NOW,
      },
      answers: { manifest: null, layer: shownAnswer, latest: shownAnswer },
      failures: [{ ...failure, repository: 'registry.example/ee', path: 'modules/a', first_at: NOW, last_at: NOW }],
    });
  });

  for (const [accept, type] of [
    ['text/plain', 'text/plain'],
    ['text/plain, application/json;q=0.5', 'text/plain'],
    ['text/*', 'text/plain'],
    ['*/*', 'application/json'],
    ['application/json, text/plain', 'application/json'],
    ['image/png', 'application/json'],
  ] as const) {
    it(`answers as ${type} to "Accept: ${accept}"`, async () => {
      const { headers, body } = await client(`explain?digest=${image.digest}`, { headers: { accept } });
      expect(headers).to.include({ 'content-type': `${type}; charset=utf-8`, vary: 'Accept' });
      if (type === 'text/plain') expect(body).to.match(/^verdict {5}would fail with 404 NAME_UNKNOWN: /);
      else expect(JSON.parse(body)).to.have.nested.property('verdict.code', 'NAME_UNKNOWN');
    });
  }

  it('shows what is wrong with a signature, and that a signature was not verified yet', async () => {
    const unverified = { mode: 'report', verdict: null, format: null, key: null, reason: null, index: null };
    expect(await documentOf({ ...bare, signature: { mode: 'report', finding: undefined } }))
      .to.have.property('signature')
      .that.deep.equals({ ...unverified, verified_at: null });
    const finding = { request, verdict: { kind: 'missing', reason: 'there is none' }, verifiedAt: AT } as const;
    expect(await documentOf({ ...bare, signature: { mode: 'report', finding } }))
      .to.have.property('signature')
      .that.deep.equals({ ...unverified, verdict: 'missing', reason: 'there is none', verified_at: NOW });
  });

  it('shows no user for an anonymous registry', async () => {
    const upstream = {
      scheme: 'https',
      host: 'registry.example',
      repository: request.path,
      credential: { kind: 'identity', user: undefined },
      certificates: 0,
    } as const;
    const document = await documentOf({ ...bare, configuration: { ...bare.configuration, upstream } });
    expect(document)
      .to.have.nested.property('configuration.upstream')
      .that.deep.equals({ ...upstream, credential: { kind: 'identity', user: null }, dialled: null });
  });
});
