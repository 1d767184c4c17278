import { expect } from 'chai';
import sinon from 'sinon';
import { Deadline } from '../../../../../src/adapters/registry/transport/deadline.ts';

describe('Deadline', () => {
  it('runs from its first use on, and is not moved by later ones', () => {
    const clock = sinon.useFakeTimers({ toFake: ['performance'] });
    try {
      const deadline = new Deadline(5000);
      clock.tick(1000);
      expect(deadline.at).to.equal(6000);
      clock.tick(1000);
      expect(deadline.at).to.equal(6000);
    } finally {
      clock.restore();
    }
  });
});
