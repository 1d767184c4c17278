import { expect } from 'chai';
import { DigestMismatchError } from '../../../src/domain/errors.ts';
import { presentable, Proof, WITHHELD_BYTES } from '../../../src/domain/proof.ts';
import { bytesOf, makeBlob } from '../../support/image.ts';

describe('Proof', () => {
  const { descriptor, bytes } = makeBlob('a/b', bytesOf(WITHHELD_BYTES + 1000));

  it('lets all but the last 64 KiB be shown while they come', () => {
    expect(presentable(400, descriptor.size)).to.equal(400);
    expect(presentable(descriptor.size, descriptor.size)).to.equal(1000);
    expect(presentable(WITHHELD_BYTES, WITHHELD_BYTES)).to.equal(0);
  });

  it('refuses one byte too many at once, one too few at the end, and a wrong one', () => {
    const tooMany = new Proof(descriptor);
    tooMany.update(bytes);
    expect(() => {
      tooMany.update(Uint8Array.of(0));
    }).to.throw(DigestMismatchError);

    const tooFew = new Proof(descriptor);
    tooFew.update(bytes.subarray(1));
    expect(() => {
      tooFew.conclude();
    }).to.throw(DigestMismatchError);

    const wrong = new Proof(descriptor);
    wrong.update(bytesOf(descriptor.size, 2));
    expect(() => {
      wrong.conclude();
    })
      .to.throw(DigestMismatchError)
      .with.property('expected', descriptor.digest);
  });
});
