import { expect } from 'chai';
import fc from 'fast-check';
import { partOf } from '../../../../src/adapters/registry/content-range.ts';
import { expectLinear, nearMiss } from '../../../support/hostile-text.ts';

const PIECES = [
  'bytes ',
  'bytes=',
  'Bytes',
  ' ',
  '-',
  '/',
  '*',
  ',',
  '0',
  '1',
  '9007199254740993',
  '+',
  '.0',
  'e3',
  '\n',
  '٣',
];
const blobs = fc
  .integer({ min: 2, max: Number.MAX_SAFE_INTEGER })
  .chain((size) => fc.record({ size: fc.constant(size), offset: fc.integer({ min: 1, max: size - 1 }) }));
const rangeOf = (offset: number, size: number): string => `bytes ${String(offset)}-${String(size - 1)}/${String(size)}`;

describe('partOf', () => {
  const cases: [status: number, headers: Record<string, string>, size: number, offset: number, expected?: string][] = [
    [200, { 'content-length': '100' }, 100, 0, '0-99'],
    [200, {}, 100, 0, '0-99'],
    [200, { 'content-length': '100' }, 100, 40, '0-99'],
    [200, { 'content-length': '60' }, 100, 40],
    [200, { 'content-length': '101' }, 100, 0],
    [200, { 'content-length': '0' }, 0, 0, '0--1'],
    [206, { 'content-range': 'bytes 40-99/100', 'content-length': '60' }, 100, 40, '40-99'],
    [206, { 'content-range': 'Bytes 40-99/100' }, 100, 40, '40-99'],
    [206, { 'content-range': 'bytes 40-99/*' }, 100, 40, '40-99'],
    [206, { 'content-range': 'bytes=40-99/100' }, 100, 40, '40-99'],
    [206, { 'content-range': 'bytes  40-99/100 ' }, 100, 40, '40-99'],
    [206, { 'content-range': 'bytes: 40-99/100' }, 100, 40, '40-99'],
    [206, { 'content-range': 'bytes 40-99' }, 100, 40, '40-99'],
    [206, { 'content-range': 'bytes 0-99/100', 'content-length': '100' }, 100, 40, '0-99'],
    [206, { 'content-range': 'bytes 39-99/100' }, 100, 40, '39-99'],
    [206, { 'content-range': 'bytes 40-49/100', 'content-length': '10' }, 100, 40, '40-49'],
    [206, { 'content-range': 'bytes 40-99/100', 'content-length': '100' }, 100, 40],
    [206, { 'content-range': 'bytes 41-99/100' }, 100, 40],
    [206, { 'content-range': 'bytes 0-39/100' }, 100, 40],
    [206, { 'content-range': 'bytes 40-100/100' }, 100, 40],
    [206, { 'content-range': 'bytes 40-99/101' }, 100, 40],
    [206, { 'content-range': 'bytes 99-40/100' }, 100, 40],
    [206, { 'content-range': 'bytes */100' }, 100, 40],
    [206, { 'content-range': 'items 40-99/100' }, 100, 40],
    [206, { 'content-range': 'bytes 40-49/100, bytes 50-99/100' }, 100, 40],
    [206, { 'content-type': 'multipart/byteranges; boundary=x' }, 100, 40],
    [206, { 'content-length': '60' }, 100, 40],
  ];
  for (const [status, headers, size, offset, expected] of cases) {
    const what = expected === undefined ? 'other bytes' : `the bytes ${expected}`;
    it(`finds ${what} in ${String(status)} ${JSON.stringify(headers)} from ${String(offset)} of ${String(size)}`, () => {
      const part = partOf({ status, headers }, size, offset);
      const range = part && `${String(offset - part.skip)}-${String(part.end - 1)}`;
      expect(range).to.equal(expected);
    });
  }

  it('takes no part that begins behind the offset, ends before it or leaves the blob', () => {
    const answers = blobs.chain(({ size, offset }) => {
      const range = fc.constant(rangeOf(offset, size));
      return fc.record({
        size: fc.constant(size),
        offset: fc.constant(offset),
        range: fc.oneof(range, nearMiss(range, PIECES)),
      });
    });
    fc.assert(
      fc.property(answers, ({ size, offset, range }) => {
        const part = partOf({ status: 206, headers: { 'content-range': range } }, size, offset);
        if (range === rangeOf(offset, size)) expect(part).to.deep.equal({ skip: 0, end: size });
        if (part === undefined) return;
        expect(part.skip).to.be.within(0, offset);
        expect(part.end).to.be.within(offset + 1, size);
      }),
    );
  });

  it('takes the length that fits, or none at all', () => {
    fc.assert(
      fc.property(blobs, nearMiss(fc.constant('60'), PIECES), ({ size, offset }, length) => {
        const whole = { skip: offset, end: size };
        const headers = { 'content-length': length };
        const expected = length === String(size) ? whole : undefined;
        expect(partOf({ status: 200, headers }, size, offset)).to.deep.equal(expected);
        expect(partOf({ status: 200, headers: {} }, size, offset)).to.deep.equal(whole);
      }),
    );
  });

  it('reads 64 KiB of anything in linear time', () => {
    expectLinear(PIECES, (text) => partOf({ status: 206, headers: { 'content-range': text } }, 100, 40));
  });
});
