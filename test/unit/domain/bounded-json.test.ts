import { expect } from 'chai';
import fc from 'fast-check';
import { parseBoundedJson } from '../../../src/domain/bounded-json.ts';
import { encode } from '../../support/image.ts';

const FOUR_MIB = 4 * 1024 * 1024;

describe('parseBoundedJson', () => {
  it('returns the result of JSON.parse', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8 }), (json) => {
        expect(parseBoundedJson(encode(json))).to.deep.equal(JSON.parse(JSON.stringify(json)));
      }),
    );
  });

  it('ignores brackets, commas and quotes in strings', () => {
    const text = `${'[{,'.repeat(60_000)}\\"]}`;
    expect(parseBoundedJson(encode({ text, [text]: [text] }))).to.deep.equal({ text, [text]: [text] });
  });

  it('reads 64 levels and 20 000 values', () => {
    const deep = '['.repeat(64) + ']'.repeat(64);
    expect(parseBoundedJson(Buffer.from(deep))).to.be.an('array');
    expect(parseBoundedJson(encode(new Array(19_999).fill(0)))).to.have.lengthOf(19_999);
  });

  for (const [what, text] of [
    ['one level more', '['.repeat(65) + ']'.repeat(65)],
    ['one value more', JSON.stringify(new Array(20_000).fill(0))],
    ['4 MiB of levels', '['.repeat(FOUR_MIB)],
    ['4 MiB of empty lists', `[${'[],'.repeat(FOUR_MIB / 3)}[]]`],
    ['4 MiB of names', `{${'"":0,'.repeat(FOUR_MIB / 5)}"":0}`],
  ] as const) {
    it(`refuses ${what} before it takes memory`, () => {
      const bytes = Buffer.from(text);
      const before = process.memoryUsage().heapTotal;
      expect(() => parseBoundedJson(bytes)).to.throw(RangeError);
      expect(process.memoryUsage().heapTotal - before).to.be.lessThan(8 * 1024 * 1024);
    });
  }

  it('refuses invalid JSON, also in the middle of a document', () => {
    for (const text of ['', '{', '"', '"\\', '"a\\"', ']', '[1,]', '\u0000']) {
      expect(() => parseBoundedJson(Buffer.from(text)), text).to.throw(SyntaxError);
    }
  });

  it('reads bytes that are not UTF-8 as Go does, in texts alone', () => {
    expect(parseBoundedJson(Uint8Array.of(0x22, 0xff, 0x22))).to.equal('\ufffd');
    // The first byte of a character of two bytes does not take the quote.
    expect(parseBoundedJson(Uint8Array.of(0x22, 0xc3, 0x22))).to.equal('\ufffd');
    for (const bytes of [[0xff], [0x5b, 0xe9, 0x5d], [0xff, 0xfe, 0x5b, 0, 0x5d, 0]])
      expect(() => parseBoundedJson(Uint8Array.from(bytes))).to.throw(SyntaxError);
  });
});
