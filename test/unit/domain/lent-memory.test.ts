import { expect } from 'chai';
import sinon from 'sinon';
import { hold, lend } from '../../../src/domain/lent-memory.ts';

describe('lent memory', () => {
  it('is returned when its owner and all other holders have released it, in any order', () => {
    const bytes = new Uint8Array(new SharedArrayBuffer(10));
    const onReturned = sinon.stub();
    const letGo = lend(bytes, onReturned);
    const [one, other] = [hold(bytes.subarray(3)), hold(bytes)];
    one?.();
    letGo();
    expect(onReturned.callCount).to.equal(0);
    other?.();
    expect(onReturned.callCount).to.equal(1);
  });

  it('cannot be held after it is returned, until it is lent again', () => {
    const bytes = new Uint8Array(10);
    const onReturned = sinon.stub();
    lend(bytes, onReturned)();
    expect(hold(bytes)).to.equal(undefined);
    const letGo = lend(bytes, onReturned);
    const other = hold(bytes);
    letGo();
    other?.();
    expect(onReturned.callCount).to.equal(2);
  });

  it('does not include other memory', () => {
    expect(hold(new Uint8Array(10))).to.equal(undefined);
  });
});
