import { expect } from 'chai';
import fc from 'fast-check';
import { digestHex, digestOf, parseDigest } from '../../../src/domain/digest.ts';
import { InvalidArgumentError } from '../../../src/domain/errors.ts';

describe('Digest', () => {
  it('is the sha256 of its bytes', () => {
    const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
    expect(digestOf(new Uint8Array())).to.equal(`sha256:${empty}`);
    expect(digestHex(digestOf(new Uint8Array()))).to.equal(empty);
  });

  it('is read back as it was written', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const digest = digestOf(bytes);
        expect(parseDigest(digest)).to.equal(digest);
      }),
    );
  });

  it('is nothing but its canonical form', () => {
    const hex = 'ab'.repeat(32);
    const others = ['', hex, `sha256:${hex}\n`, ` sha256:${hex}`, `SHA256:${hex}`, `sha512:${hex}`, `sha256:${hex}a`];
    for (const text of [...others, `sha256:${'AB'.repeat(32)}`, 'sha256:../../etc', `__proto__:${hex}`]) {
      expect(() => parseDigest(text), text)
        .to.throw(InvalidArgumentError)
        .with.property('code', 'DIGEST_INVALID');
    }
  });
});
