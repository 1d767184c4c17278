import { expect } from 'chai';
import { SingleFlight } from '../../../../src/application/concurrency/single-flight.ts';
import { rejection } from '../../../support/rejection.ts';

describe('SingleFlight', () => {
  /** Work that ends when the test says so. */
  function requests() {
    const begun: (PromiseWithResolvers<string> & { signal: AbortSignal })[] = [];
    const begin = (signal: AbortSignal): Promise<string> => {
      const request = { ...Promise.withResolvers<string>(), signal };
      begun.push(request);
      return request.promise;
    };
    return { begun, begin };
  }
  const never = new AbortController().signal;

  it('runs once for all callers while it lasts', async () => {
    const [shared, { begun, begin }] = [new SingleFlight<string, string>(), requests()];
    const asking = Array.from({ length: 200 }, () => shared.run('a', begin, never));
    begun[0]?.resolve('token');
    expect(new Set(await Promise.all(asking))).to.deep.equal(new Set(['token']));
    expect(begun).to.have.lengthOf(1);
  });

  it('runs once for each key, and again when it has ended', async () => {
    const [shared, { begun, begin }] = [new SingleFlight<string, string>(), requests()];
    const asking = [shared.run('a', begin, never), shared.run('b', begin, never)];
    for (const { resolve } of begun) resolve('token');
    await Promise.all(asking);
    void shared.run('a', begin, never);
    expect(begun).to.have.lengthOf(3);
  });

  it('fails for all callers, and not for a later one', async () => {
    const [shared, { begun, begin }] = [new SingleFlight<string, string>(), requests()];
    const asking = [rejection(shared.run('a', begin, never)), rejection(shared.run('a', begin, never))];
    const reason = new Error('refused');
    begun[0]?.reject(reason);
    expect(await Promise.all(asking)).to.deep.equal([reason, reason]);
    void shared.run('a', begin, never);
    expect(begun).to.have.lengthOf(2);
  });

  it('continues for the other callers when one leaves, also the first', async () => {
    const [shared, { begun, begin }, leaving] = [new SingleFlight<string, string>(), requests(), new AbortController()];
    const first = rejection(shared.run('a', begin, leaving.signal));
    const second = shared.run('a', begin, never);
    const reason = new Error('left');
    leaving.abort(reason);
    expect(await first).to.equal(reason);
    expect(begun[0]?.signal.aborted).to.equal(false);
    begun[0]?.resolve('token');
    expect(await second).to.equal('token');
  });

  it('is aborted when the last caller leaves, and joined by no later caller', async () => {
    const [shared, { begun, begin }, leaving] = [new SingleFlight<string, string>(), requests(), new AbortController()];
    const asking = [1, 2].map(() => rejection(shared.run('a', begin, leaving.signal)));
    leaving.abort(new Error('left'));
    await Promise.all(asking);
    expect(begun[0]?.signal.aborted).to.equal(true);
    void shared.run('a', begin, never);
    expect(begun).to.have.lengthOf(2);
  });

  it('continues when a caller leaves and another one has no signal', async () => {
    const [shared, { begun, begin }, leaving] = [new SingleFlight<string, string>(), requests(), new AbortController()];
    const steady = shared.run('a', begin);
    const left = rejection(shared.run('a', begin, leaving.signal));
    leaving.abort(new Error('left'));
    await left;
    expect(begun[0]?.signal.aborted).to.equal(false);
    begun[0]?.resolve('token');
    expect(await steady).to.equal('token');
    void shared.run('a', begin);
    expect(begun).to.have.lengthOf(2);
  });

  it('does not run for a caller that has left already', async () => {
    const [shared, { begun, begin }] = [new SingleFlight<string, string>(), requests()];
    await rejection(shared.run('a', begin, AbortSignal.abort(new Error('left'))));
    expect(begun).to.deep.equal([]);
  });
});
