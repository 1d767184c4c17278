import { expect } from 'chai';
import fc from 'fast-check';
import { digestHex, digestOf, parseDescriptor, parseDigest } from '../../../src/domain/descriptor.ts';
import { InvalidArgumentError } from '../../../src/domain/errors.ts';
import { expectLinear, nearMiss, outcome } from '../../support/hostile-text.ts';
import { bytesOf } from '../../support/image.ts';

const HEX_DIGITS = Array.from('0123456789abcdef');
const PIECES = ['sha256:', 'sha512:', ':', 'a', 'A', 'g', '0', '..', '/', '%3a', '\n', '\0', '٠', 'ａ', '__proto__'];
const parse = (text: string) => outcome(() => parseDigest(text), InvalidArgumentError);

describe('Digest', () => {
  it('is the sha256 of its bytes', () => {
    const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
    expect(digestOf(new Uint8Array())).to.equal(`sha256:${empty}`);
    expect(digestHex(digestOf(new Uint8Array()))).to.equal(empty);
  });

  it('is parsed and written unchanged', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const digest = digestOf(bytes);
        expect(parseDigest(digest)).to.equal(digest);
      }),
    );
  });

  it('accepts only its canonical form', () => {
    const hex = 'ab'.repeat(32);
    const others = ['', hex, `sha256:${hex}\n`, ` sha256:${hex}`, `SHA256:${hex}`, `sha512:${hex}`, `sha256:${hex}a`];
    for (const text of [...others, `sha256:${'AB'.repeat(32)}`, 'sha256:../../etc', `__proto__:${hex}`]) {
      expect(() => parseDigest(text), text)
        .to.throw(InvalidArgumentError)
        .with.property('code', 'DIGEST_INVALID');
    }
  });

  it('refuses similar texts', () => {
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

  it('is checked in linear time for 64 KiB of any text', () => {
    expectLinear(PIECES, parse);
  });
});

describe('parseDescriptor', () => {
  for (const length of [0, 1, 2, 3, 1000]) {
    const bytes = Buffer.from(bytesOf(length));
    const descriptor = { mediaType: 'a/b', digest: digestOf(bytes), size: length };

    it(`accepts its content of ${String(length)} bytes`, () => {
      const data = bytes.toString('base64');
      for (const written of [data, data.replaceAll('=', '')]) {
        expect(parseDescriptor({ ...descriptor, data: written })).to.deep.equal({ ...descriptor, data: bytes });
      }
    });

    it(`ignores content of ${String(length)} bytes with a wrong digest`, () => {
      const other = Buffer.from(bytesOf(length + 1, 2)).toString('base64');
      const flipped = Buffer.from(bytes.map((byte) => byte ^ 1)).toString('base64');
      for (const data of [other, length === 0 ? other : flipped, null, 1, [], '!', 'AAAA'.repeat(1000)]) {
        if (data === '!' && length === 0) continue;
        expect(parseDescriptor({ ...descriptor, data }), String(data)).to.deep.equal(descriptor);
      }
    });
  }

  for (const mediaType of [undefined, null, '', 1, 'a'.repeat(256), 'a\r\nX: y', 'a/b; c=d']) {
    it(`treats content of the type ${JSON.stringify({ mediaType }).slice(0, 40)} as any bytes`, () => {
      const { digest, size } = { digest: digestOf(bytesOf(1)), size: 1 };
      expect(parseDescriptor({ mediaType, digest, size })).to.deep.equal({
        mediaType: 'application/octet-stream',
        digest,
        size,
      });
    });
  }
});
