import { expect } from 'chai';
import fc from 'fast-check';
import { forEachInTurns, sortInTurns } from '../../../../src/adapters/filesystem/work-in-turns.ts';

/** How often the event loop turns while `work` lasts. */
async function turnsOf(work: Promise<unknown>): Promise<number> {
  let turns = 0;
  const count = (): void => {
    turns++;
    next = setImmediate(count);
  };
  let next = setImmediate(count);
  await work;
  clearImmediate(next);
  return turns;
}

describe('sortInTurns', () => {
  it('sorts as Array.sort does, and is stable', async () => {
    const items = fc.array(fc.record({ key: fc.nat(50), at: fc.nat() }), { maxLength: 200 });
    await fc.assert(
      fc.asyncProperty(items, async (list) => {
        expect(await sortInTurns(list, ({ key }) => key)).to.deep.equal(list.toSorted((a, b) => a.key - b.key));
      }),
    );
    const many = Array.from({ length: 30_000 }, (_, at) => (at * 7919) % 30_011);
    expect(await sortInTurns(many, (key) => key)).to.deep.equal(many.toSorted((a, b) => a - b));
  });

  it('lets other work run between two turns', async () => {
    const many = Array.from({ length: 100_000 }, (_, at) => (at * 7919) % 100_003);
    expect(await turnsOf(sortInTurns(many, (key) => key))).to.be.greaterThan(40);
  });

  it('does not move one half of the items in a single turn when all of them are older', async () => {
    let keys = 0;
    let most = 0;
    const count = (): void => {
      most = Math.max(most, keys);
      keys = 0;
      next = setImmediate(count);
    };
    let next = setImmediate(count);
    const descending = Array.from({ length: 100_000 }, (_, at) => -at);
    await sortInTurns(descending, (key) => {
      keys++;
      return key;
    });
    clearImmediate(next);
    expect(most).to.be.lessThan(40_000);
  });
});

describe('forEachInTurns', () => {
  it('processes each item in order, in several turns', async () => {
    const many = Array.from({ length: 50_000 }, (_, at) => at);
    const seen: number[] = [];
    const turns = await turnsOf(forEachInTurns(many, (item) => seen.push(item)));
    expect(seen).to.deep.equal(many);
    expect(turns).to.be.greaterThan(10);
  });
});
