import { expect } from 'chai';
import { type FinishedRequest, RequestHistory } from '../../../../../src/adapters/http/server/request-record.ts';
import { ClientGoneError } from '../../../../../src/adapters/http/server/problem.ts';
import { RequestTrace } from '../../../../../src/adapters/http/server/trace-context.ts';
import { InvalidArgumentError, UpstreamDeniedError, UpstreamTimeoutError } from '../../../../../src/domain/errors.ts';
import { DEFAULT_REPOSITORY } from '../../../../../src/domain/reference.ts';
import { makePackage } from '../../../../support/image.ts';

const requestOf = (seed: number): FinishedRequest['package'] => ({
  digest: makePackage(8, seed).digest,
  repository: DEFAULT_REPOSITORY,
  path: undefined,
});

function finished(fields: Partial<FinishedRequest>): FinishedRequest {
  return {
    id: '1',
    trace: new RequestTrace('', ''),
    client: '127.0.0.1',
    connected: '127.0.0.1',
    method: 'GET',
    route: '/package',
    package: requestOf(1),
    cache: undefined,
    bytes: 0,
    error: undefined,
    status: 200,
    seconds: 0.1,
    ...fields,
  };
}

describe('RequestHistory', () => {
  let history: RequestHistory;
  beforeEach(() => {
    history = new RequestHistory();
  });

  it('counts cache results of GET requests for packages, not of HEAD requests', () => {
    for (const kind of ['miss', 'joined', 'hit'] as const) {
      const cache =
        kind === 'hit'
          ? { kind, storedAt: new Date() }
          : kind === 'miss'
            ? { kind, isStored: () => true, source: () => undefined }
            : { kind };
      history.observe(finished({ cache }));
      history.observe(finished({ cache, method: 'HEAD' }));
    }
    history.observe(finished({ cache: { kind: 'bypass', reason: 'store-full' } }));
    history.observe(finished({ cache: { kind: 'bypass', reason: 'store-full' } }));
    history.observe(finished({ route: '/metrics', package: undefined }));
    expect(history.outcomes).to.deep.equal({ hit: 1, miss: 1, joined: 1, bypass: 2 });
    expect(history.failures()).to.deep.equal([]);
  });

  it('groups requests with the same failure, the latest failure first', () => {
    const denied = new UpstreamDeniedError({ cause: new Error('manifest from registry.example: status 401') });
    history.observe(finished({ error: denied }));
    history.observe(finished({ error: new UpstreamTimeoutError() }));
    history.observe(finished({ error: denied, package: requestOf(2) }));
    history.observe(finished({ error: denied }));
    const failures = history.failures();
    expect(failures.map(({ code, count, request }) => [code, count, request])).to.deep.equal([
      ['UPSTREAM_DENIED', 2, requestOf(1)],
      ['UPSTREAM_DENIED', 1, requestOf(2)],
      ['UPSTREAM_TIMEOUT', 1, requestOf(1)],
    ]);
    expect(failures[0]).to.include({
      status: 502,
      detail: 'registry refused the configured credentials',
      cause: 'manifest from registry.example: status 401',
    });
    expect(failures[0]?.lastAt.getTime()).to.be.at.least(failures[0]?.firstAt.getTime() ?? Infinity);
  });

  it('keeps only the error of an invalid request', () => {
    const error = new InvalidArgumentError('QUERY_INVALID', 'query has an invalid escape');
    for (let times = 0; times < 3; times++) history.observe(finished({ package: undefined, error }));
    const [failure] = history.failures();
    expect(failure).to.include({ request: undefined, status: 400, code: 'QUERY_INVALID', count: 3 });
  });

  it('counts no failure for a client that left', () => {
    history.observe(finished({ error: new ClientGoneError() }));
    expect(history.failures()).to.deep.equal([]);
  });

  it('drops the oldest of very many', () => {
    for (let seed = 1; seed <= 200; seed++) {
      history.observe(finished({ package: requestOf(seed), error: new UpstreamDeniedError() }));
    }
    const failures = history.failures();
    expect(failures).to.have.lengthOf(128);
    expect(failures[0]?.request).to.deep.equal(requestOf(200));
  });
});
