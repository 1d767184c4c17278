import { expect } from 'chai';
import fc from 'fast-check';
import { digestHex, digestOf, parseDigest } from '../../../src/domain/digest.ts';
import { InvalidArgumentError } from '../../../src/domain/errors.ts';
import { expectLinear, nearMiss, outcome } from '../../support/hostile-text.ts';

const HEX_DIGITS = Array.from('0123456789abcdef');
const PIECES = ['sha256:', 'sha512:', ':', 'a', 'A', 'g', '0', '..', '/', '%3a', '\n', '\0', '٠', 'ａ', '__proto__'];
const parse = (text: string) => outcome(() => parseDigest(text), InvalidArgumentError);

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

  it('is not what looks like one', () => {
    const digest = fc
      .array(fc.constantFrom(...HEX_DIGITS), { minLength: 64, maxLength: 64 })
      .map((digits) => `sha256:${digits.join('')}`);
    const isDigest = (text: string): boolean =>
      text.length === 71 &&
      text.startsWith('sha256:') &&
      Array.from(text.slice(7)).every((digit) => HEX_DIGITS.includes(digit));
    fc.assert(
      fc.property(fc.oneof(digest, nearMiss(digest, PIECES), fc.string({ unit: 'binary' })), (text) => {
        expect(parse(text)).to.equal(isDigest(text) ? text : undefined);
      }),
    );
  });

  it('is told from 64 KiB of anything in linear time', () => {
    expectLinear(PIECES, parse);
  });
});
