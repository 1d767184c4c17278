import { expect } from 'chai';
import { Allowance } from '../../../../src/application/concurrency/allowance.ts';

describe('Allowance', () => {
  it('permits a burst, then a constant rate, and never accumulates more than a burst', () => {
    let now = 0;
    const allowance = new Allowance({ burst: 3, perSecond: 2, now: () => now });
    const taken = (): number => {
      let count = 0;
      while (allowance.take()) count++;
      return count;
    };
    expect(taken()).to.equal(3);
    now += 499;
    expect(taken()).to.equal(0);
    now += 1;
    expect(taken()).to.equal(1);
    now += 1000;
    expect(taken()).to.equal(2);
    now += 3_600_000;
    expect(taken()).to.equal(3);
  });
});
