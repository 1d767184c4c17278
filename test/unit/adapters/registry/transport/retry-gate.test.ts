import { expect } from 'chai';
import sinon from 'sinon';
import { RetryGate } from '../../../../../src/adapters/registry/transport/retry-gate.ts';

const url = (path: string, host = 'registry.example'): URL => new URL(path, `https://${host}`);

describe('RetryGate', () => {
  let clock: sinon.SinonFakeTimers;
  beforeEach(() => {
    clock = sinon.useFakeTimers({ toFake: ['performance'] });
  });
  afterEach(() => {
    clock.restore();
  });

  it('closes a host for a 429, and no other host', () => {
    const gate = new RetryGate();
    gate.close(url('/a'), 429, 5);
    expect(gate.opensAt(url('/b'))).to.equal(5000);
    expect(gate.opensAt(url('/a', 'other.example'))).to.equal(0);
    expect(gate.opensAt(url('/a', 'registry.example:444'))).to.equal(0);
  });

  for (const status of [503, 502, 500]) {
    it(`closes its URL only for a ${String(status)}`, () => {
      const gate = new RetryGate();
      gate.close(url('/a'), status, 5);
      expect(gate.opensAt(url('/a'))).to.equal(5000);
      expect(gate.opensAt(url('/b'))).to.equal(0);
    });
  }

  it('takes the longest of several waits', () => {
    const gate = new RetryGate();
    gate.close(url('/a'), 429, 5);
    gate.close(url('/a'), 429, 1);
    gate.close(url('/a'), 503, 2);
    expect(gate.opensAt(url('/a'))).to.equal(5000);
  });

  it('forgets waits that are over when it learns of another one', () => {
    const gate = new RetryGate();
    for (let i = 0; i < 100; i++) gate.close(url(`/${String(i)}`), 503, 1);
    clock.tick(1000);
    gate.close(url('/a'), 429, 1);
    expect(gate.size).to.equal(1);
  });

  it('remembers a thousand waits at most, the last ones', () => {
    const gate = new RetryGate();
    for (let i = 0; i <= 1000; i++) gate.close(url(`/${String(i)}`), 503, 60);
    expect(gate.size).to.equal(1000);
    expect(gate.opensAt(url('/0'))).to.equal(0);
    expect(gate.opensAt(url('/1000'))).to.equal(60_000);
  });
});
