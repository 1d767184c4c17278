import { expect } from 'chai';
import fc from 'fast-check';
import { parseRange } from '../../../../src/adapters/http/range.ts';

const ETAG = '"sha256:aa"';
const part = (start: number, end: number) => ({ kind: 'part', start, end });

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
    ['bytes=-5', 0, { kind: 'unsatisfiable' }],
    ['bytes=9999999999999999999-', 100, { kind: 'unsatisfiable' }],
    ['bytes=20-10', 100, { kind: 'whole' }],
    ['bytes=-', 100, { kind: 'whole' }],
    ['bytes=a-b', 100, { kind: 'whole' }],
    ['bytes=0-1,5-6', 100, { kind: 'whole' }],
    ['items=0-1', 100, { kind: 'whole' }],
    ['bytes=99999999999999999999-', 100, { kind: 'whole' }],
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

  it('never leaves the package, whatever it reads', () => {
    const header = fc.tuple(fc.option(fc.maxSafeNat()), fc.option(fc.maxSafeNat()));
    fc.assert(
      fc.property(header, fc.nat(1000), ([first, last], size) => {
        const range = parseRange(`bytes=${String(first ?? '')}-${String(last ?? '')}`, '', ETAG, size);
        if (range.kind === 'part') {
          expect(range.start).to.be.within(0, size - 1);
          expect(range.end).to.be.within(range.start + 1, size);
        }
      }),
    );
  });
});
