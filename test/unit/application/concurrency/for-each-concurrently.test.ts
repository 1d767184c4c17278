import { expect } from 'chai';
import { forEachConcurrently } from '../../../../src/application/concurrency/for-each-concurrently.ts';
import { StoreFailedError } from '../../../../src/domain/errors.ts';
import { rejection } from '../../../support/rejection.ts';

const never = new AbortController().signal;
const items = [1, 2, 3, 4, 5, 6, 7];

describe('forEachConcurrently', () => {
  let failed: [item: number, error: unknown][];
  beforeEach(() => {
    failed = [];
  });
  const onFailure = (item: number, error: unknown): unknown => failed.push([item, error]);

  it('processes each item once, and no more items at a time than the limit', async () => {
    let running = 0;
    let most = 0;
    const done: number[] = [];
    await forEachConcurrently(items, {
      concurrency: 3,
      interrupted: never,
      onFailure,
      work: async (item) => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setImmediate(resolve));
        running--;
        done.push(item);
      },
    });
    expect(done.toSorted()).to.deep.equal(items);
    expect(most).to.equal(3);
  });

  it('continues when one item fails, and reports the failure', async () => {
    const error = new Error('failed');
    const done: number[] = [];
    await forEachConcurrently(items, {
      concurrency: 2,
      interrupted: never,
      onFailure,
      work: async (item) => {
        if (item === 2) throw error;
        done.push(item);
      },
    });
    expect(failed).to.deep.equal([[2, error]]);
    expect(done).to.deep.equal([1, 3, 4, 5, 6, 7]);
  });

  for (const [what, end] of [
    ['the disk fails', (error: Error) => Promise.reject(error)],
    [
      'it is interrupted',
      (error: Error, interruption: AbortController) => {
        interruption.abort(error);
        return Promise.reject(new Error('aborted'));
      },
    ],
  ] as const)
    it(`begins no further item when ${what}, and reports no item`, async () => {
      const error = new StoreFailedError();
      const interruption = new AbortController();
      const begun: number[] = [];
      const work = forEachConcurrently(items, {
        concurrency: 1,
        interrupted: interruption.signal,
        onFailure,
        work: async (item) => {
          begun.push(item);
          if (item === 2) await end(error, interruption);
        },
      });
      expect(await rejection(work)).to.equal(error);
      expect(begun).to.deep.equal([1, 2]);
      expect(failed).to.deep.equal([]);
    });
});
