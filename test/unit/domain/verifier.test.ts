import { expect } from 'chai';
import { DigestMismatchError } from '../../../src/domain/errors.ts';
import { presentable, Verifier, WITHHELD_BYTES } from '../../../src/domain/verifier.ts';
import { bytesOf, makeBlob } from '../../support/image.ts';

describe('Verifier', () => {
  const { descriptor, bytes } = makeBlob('a/b', bytesOf(WITHHELD_BYTES + 1000));

  it('releases all bytes except the last 64 KiB as they arrive', () => {
    expect(presentable(400, descriptor.size)).to.equal(400);
    expect(presentable(descriptor.size, descriptor.size)).to.equal(1000);
    expect(presentable(WITHHELD_BYTES, WITHHELD_BYTES)).to.equal(0);
  });

  it('refuses a surplus byte at once, and a missing or wrong byte at the end', () => {
    const tooMany = new Verifier(descriptor);
    tooMany.update(bytes);
    expect(() => {
      tooMany.update(Uint8Array.of(0));
    }).to.throw(DigestMismatchError);

    const tooFew = new Verifier(descriptor);
    tooFew.update(bytes.subarray(1));
    expect(() => {
      tooFew.verify();
    }).to.throw(DigestMismatchError);

    const wrong = new Verifier(descriptor);
    wrong.update(bytesOf(descriptor.size, 2));
    expect(() => {
      wrong.verify();
    })
      .to.throw(DigestMismatchError)
      .with.property('expected', descriptor.digest);
  });
});
