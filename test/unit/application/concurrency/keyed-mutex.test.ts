import { expect } from 'chai';
import { KeyedMutex } from '../../../../src/application/concurrency/keyed-mutex.ts';
import { rejection } from '../../../support/rejection.ts';

describe('KeyedMutex', () => {
  it('runs the work of one key in the order of the callers, and other keys concurrently', async () => {
    const mutex = new KeyedMutex<string>();
    const log: string[] = [];
    const first = Promise.withResolvers<undefined>();
    const work = (name: string, until?: Promise<undefined>) => async (): Promise<string> => {
      log.push(`${name} begins`);
      await until;
      log.push(`${name} ends`);
      return name;
    };
    const outcomes = [
      mutex.runExclusive('a', work('one', first.promise)),
      mutex.runExclusive('a', work('two')),
      mutex.runExclusive('b', work('other')),
    ];
    expect(await outcomes[2]).to.equal('other');
    first.resolve(undefined);
    expect(await Promise.all(outcomes)).to.deep.equal(['one', 'two', 'other']);
    expect(log).to.deep.equal(['one begins', 'other begins', 'other ends', 'one ends', 'two begins', 'two ends']);
  });

  it('continues after failed work', async () => {
    const mutex = new KeyedMutex<string>();
    const error = new Error('failed');
    const failed = rejection(mutex.runExclusive('a', () => Promise.reject(error)));
    expect(await mutex.runExclusive('a', () => Promise.resolve('done'))).to.equal('done');
    expect(await failed).to.equal(error);
  });
});
