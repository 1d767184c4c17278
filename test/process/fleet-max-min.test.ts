import { expect } from 'chai';
import fc from 'fast-check';
import { type Demand, maxMinRates } from '../../bench/fleet/max-min.ts';

const demand = (flows: number, links: number[], limit = Infinity): Demand => ({ flows, links, limit });

describe('max-min fair rates', () => {
  it('divide one link equally between two nodes', () => {
    expect(maxMinRates([demand(2, [0])], [100])).to.deep.equal([50]);
  });

  it('give the rest of a limited flow to the other flows', () => {
    expect(maxMinRates([demand(1, [0], 10), demand(3, [0])], [100])).to.deep.equal([10, 30]);
  });

  it('equal the textbook example: three links in a row, one flow over all of them and one on each', () => {
    const demands = [demand(1, [0, 1, 2]), demand(1, [0]), demand(1, [1]), demand(1, [2])];
    expect(maxMinRates(demands, [10, 40, 20])).to.deep.equal([5, 5, 35, 15]);
  });

  it('are zero for a demand without flows and for a link without capacity', () => {
    expect(maxMinRates([demand(0, [0]), demand(1, [0]), demand(1, [1])], [8, 0])).to.deep.equal([0, 8, 0]);
  });

  it('exceed no capacity of a link, and each flow reaches its limit or has a full link', () => {
    const demands = fc.array(
      fc.record({
        flows: fc.integer({ min: 1, max: 1000 }),
        limit: fc.integer({ min: 1, max: 1000 }),
        links: fc.uniqueArray(fc.integer({ min: 0, max: 3 })),
      }),
      { minLength: 1, maxLength: 8 },
    );
    const capacities = fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(demands, capacities, (all, links) => {
        const rates = maxMinRates(all, links);
        const used = links.map((_, link) =>
          all.reduce(
            (sum, { flows, links: crossed }, at) => sum + (crossed.includes(link) ? flows * (rates[at] ?? 0) : 0),
            0,
          ),
        );
        used.forEach((bytes, link) => expect(bytes).to.be.at.most((links[link] ?? 0) * (1 + 1e-9)));
        all.forEach(({ limit, links: crossed }, at) => {
          const isFull = crossed.some((link) => (used[link] ?? 0) >= (links[link] ?? 0) * (1 - 1e-9));
          expect(isFull || (rates[at] ?? 0) >= limit * (1 - 1e-9)).to.equal(true);
        });
      }),
    );
  });
});
