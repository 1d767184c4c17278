import { expect } from 'chai';
import sinon from 'sinon';
import { retryWhileThrottled } from '../../../../src/application/concurrency/retry-while-throttled.ts';
import { UpstreamThrottledError, UpstreamUnavailableError } from '../../../../src/domain/errors.ts';
import { rejection } from '../../../support/rejection.ts';

const never = new AbortController().signal;

describe('retryWhileThrottled', () => {
  const attempt = sinon.stub<[], Promise<string>>();
  let clock: sinon.SinonFakeTimers;
  beforeEach(() => {
    attempt.reset();
    clock = sinon.useFakeTimers();
  });
  afterEach(() => {
    clock.restore();
  });

  it('waits for the time of the error, and tries again', async () => {
    attempt.onFirstCall().rejects(new UpstreamThrottledError(30)).onSecondCall().resolves('package');
    const outcome = retryWhileThrottled(attempt, never);
    await clock.tickAsync(29_999);
    sinon.assert.calledOnce(attempt);
    await clock.tickAsync(1);
    expect(await outcome).to.equal('package');
  });

  it('limits the waits', async () => {
    const throttled = new UpstreamThrottledError(60);
    attempt.rejects(throttled);
    const outcome = rejection(retryWhileThrottled(attempt, never));
    await clock.tickAsync(10 * 60_000);
    expect(await outcome).to.equal(throttled);
    sinon.assert.callCount(attempt, 11);
  });

  it('does not retry other errors', async () => {
    const error = new UpstreamUnavailableError();
    attempt.rejects(error);
    expect(await rejection(retryWhileThrottled(attempt, never))).to.equal(error);
    sinon.assert.calledOnce(attempt);
  });

  it('ends its wait when its signal is aborted', async () => {
    const interruption = new AbortController();
    attempt.rejects(new UpstreamThrottledError(60));
    const outcome = rejection(retryWhileThrottled(attempt, interruption.signal));
    await clock.tickAsync(1000);
    const reason = new Error('enough');
    interruption.abort(reason);
    expect(await outcome).to.equal(reason);
    expect(clock.countTimers()).to.equal(0);
  });
});
