import { expect } from 'chai';
import fc from 'fast-check';
import { leadingBytes } from '../../../../src/adapters/registry/content-range.ts';
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

describe('leadingBytes', () => {
  const cases: [status: number, headers: Record<string, string>, size: number, offset: number, expected?: number][] = [
    [200, { 'content-length': '100' }, 100, 0, 0],
    [200, {}, 100, 0, 0],
    [200, { 'content-length': '100' }, 100, 40, 40],
    [200, { 'content-length': '60' }, 100, 40],
    [200, { 'content-length': '101' }, 100, 0],
    [200, { 'content-length': '0' }, 0, 0, 0],
    [206, { 'content-range': 'bytes 40-99/100', 'content-length': '60' }, 100, 40, 0],
    [206, { 'content-range': 'Bytes 40-99/100' }, 100, 40, 0],
    [206, { 'content-range': 'bytes 40-99/100', 'content-length': '100' }, 100, 40],
    [206, { 'content-range': 'bytes 0-99/100', 'content-length': '100' }, 100, 0],
    [206, { 'content-range': 'bytes 41-99/100' }, 100, 40],
    [206, { 'content-range': 'bytes 40-98/100' }, 100, 40],
    [206, { 'content-range': 'bytes 40-99/101' }, 100, 40],
    [206, { 'content-range': 'bytes 40-99/*' }, 100, 40],
    [206, { 'content-range': 'bytes */100' }, 100, 40],
    [206, { 'content-range': 'items 40-99/100' }, 100, 40],
    [206, { 'content-length': '60' }, 100, 40],
  ];
  for (const [status, headers, size, offset, expected] of cases) {
    const what = expected === undefined ? 'others than those asked for' : `${String(expected)} before`;
    it(`finds ${what} in ${String(status)} ${JSON.stringify(headers)} from ${String(offset)} of ${String(size)}`, () => {
      expect(leadingBytes({ status, headers }, size, offset)).to.equal(expected);
    });
  }

  it('takes the one part that was asked for, and none that only looks like it', () => {
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
        const isIt = range.toLowerCase() === rangeOf(offset, size);
        const headers = { 'content-range': range };
        expect(leadingBytes({ status: 206, headers }, size, offset)).to.equal(isIt ? 0 : undefined);
      }),
    );
  });

  it('takes the length that was asked for, or none at all', () => {
    fc.assert(
      fc.property(blobs, nearMiss(fc.constant('60'), PIECES), ({ size, offset }, length) => {
        const headers = { 'content-length': length };
        expect(leadingBytes({ status: 200, headers }, size, offset)).to.equal(
          length === String(size) ? offset : undefined,
        );
        expect(leadingBytes({ status: 200, headers: {} }, size, offset)).to.equal(offset);
      }),
    );
  });

  it('reads 64 KiB of anything in linear time', () => {
    expectLinear(PIECES, (text) => leadingBytes({ status: 206, headers: { 'content-range': text } }, 100, 40));
  });
});
