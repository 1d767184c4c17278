import { expect } from 'chai';
import fc from 'fast-check';
import { type RequestedRange, parseRange } from '../../../../../src/adapters/http/package/range.ts';
import { expectLinear, nearMiss } from '../../../../support/hostile-text.ts';

const ETAG = '"sha256:aa"';
const part = (start: number, end: number): RequestedRange => ({ kind: 'part', start, end });

const PIECES = [
  'bytes=',
  'bytes',
  'BYTES=',
  '=',
  '-',
  ',',
  '0',
  '9',
  '9007199254740993',
  ' ',
  '\t',
  '+',
  '.',
  'a',
  '٣',
  '\n',
];

/** RFC 9110 section 14.1.2 once more, without a regular expression of the whole. */
function read(header: string, size: number): RequestedRange {
  const spec = header.slice('bytes='.length).replaceAll('\t', ' ');
  const [word = '', ...others] = spec.split(' ').filter((part) => part !== '');
  const dash = word.indexOf('-');
  const parts = [word.slice(0, dash), word.slice(dash + 1)];
  const isNumber = (text: string): boolean => Array.from(text).every((digit) => '0123456789'.includes(digit));
  if (!header.toLowerCase().startsWith('bytes=') || others.length > 0 || dash < 0 || !parts.every(isNumber)) {
    return { kind: 'whole' };
  }
  const [first, last] = parts.map((text) => (text === '' ? undefined : Number(text)));
  if (first === undefined) {
    if (last === undefined || (last > 0 && size === 0)) return { kind: 'whole' };
    return last === 0 ? { kind: 'unsatisfiable' } : part(size - Math.min(last, size), size);
  }
  if (last !== undefined && last < first) return { kind: 'whole' };
  return first < size ? part(first, Math.min((last ?? size) + 1, size)) : { kind: 'unsatisfiable' };
}

describe('parseRange', () => {
  const cases: [range: string, of: number, expected: object][] = [
    ['', 100, { kind: 'whole' }],
    ['bytes=0-0', 100, part(0, 1)],
    ['bytes=10-19', 100, part(10, 20)],
    ['BYTES= 10-19 ', 100, part(10, 20)],
    ['bytes=90-', 100, part(90, 100)],
    ['bytes=90-1000', 100, part(90, 100)],
    ['bytes=-10', 100, part(90, 100)],
    ['bytes=-1000', 100, part(0, 100)],
    ['bytes=100-', 100, { kind: 'unsatisfiable' }],
    ['bytes=-0', 100, { kind: 'unsatisfiable' }],
    ['bytes=0-', 0, { kind: 'unsatisfiable' }],
    ['bytes=-5', 0, { kind: 'whole' }],
    ['bytes=9999999999999999999-', 100, { kind: 'unsatisfiable' }],
    ['bytes=20-10', 100, { kind: 'whole' }],
    ['bytes=-', 100, { kind: 'whole' }],
    ['bytes=a-b', 100, { kind: 'whole' }],
    ['bytes=0-1,5-6', 100, { kind: 'whole' }],
    ['items=0-1', 100, { kind: 'whole' }],
    ['bytes=99999999999999999999-', 100, { kind: 'unsatisfiable' }],
    [`bytes=-${'9'.repeat(400)}`, 100, part(0, 100)],
  ];
  for (const [range, size, expected] of cases) {
    it(`reads "${range}" of ${String(size)} bytes as ${JSON.stringify(expected)}`, () => {
      expect(parseRange(range, '', ETAG, size)).to.deep.equal(expected);
    });
  }

  it('stands only under the validator that If-Range names', () => {
    expect(parseRange('bytes=0-1', ETAG, ETAG, 100)).to.deep.equal(part(0, 2));
    for (const other of ['"sha256:bb"', `W/${ETAG}`, 'Tue, 24 Nov 2026 08:00:00 GMT']) {
      expect(parseRange('bytes=0-1', other, ETAG, 100)).to.deep.equal({ kind: 'whole' });
    }
  });

  it('is what the specification says, or nothing, whatever it reads', () => {
    const number = fc.oneof(fc.nat(12), fc.maxSafeNat(), fc.constant('')).map(String);
    const header = fc.tuple(number, number).map(([first, last]) => `bytes=${first}-${last}`);
    fc.assert(
      fc.property(fc.oneof(header, nearMiss(header, PIECES)), fc.oneof(fc.nat(10), fc.maxSafeNat()), (text, size) => {
        expect(parseRange(text, '', ETAG, size)).to.deep.equal(read(text, size));
      }),
    );
  });

  it('is nothing under any other validator', () => {
    fc.assert(
      fc.property(nearMiss(fc.constant(ETAG), ['W/', '"', ' ', 'a', ',', '*']), (other) => {
        fc.pre(other !== '' && other !== ETAG);
        expect(parseRange('bytes=0-1', other, ETAG, 100)).to.deep.equal({ kind: 'whole' });
      }),
    );
  });

  it('is read out of 64 KiB of anything in linear time', () => {
    expectLinear(PIECES, (text) => parseRange(text, '', ETAG, 100));
    expectLinear(PIECES, (text) => parseRange(`bytes=${text}`, '', ETAG, 100));
  });
});
