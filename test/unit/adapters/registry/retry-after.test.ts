import { expect } from 'chai';
import { parseRetryAfter } from '../../../../src/adapters/registry/retry-after.ts';

describe('parseRetryAfter', () => {
  const now = new Date('2026-11-24T08:00:00Z');
  const cases: [header: string | undefined, seconds: number | undefined][] = [
    [undefined, undefined],
    ['0', 0],
    [' 7 ', 7],
    ['99999999999999999999', 60],
    ['Tue, 24 Nov 2026 08:00:05 GMT', 5],
    ['Tue, 24 Nov 2026 07:00:00 GMT', 0],
    ['Tue, 24 Nov 2099 07:00:00 GMT', 60],
    ['-5', 0],
    ['soon', undefined],
    ['', undefined],
    ['1'.repeat(65), undefined],
  ];
  for (const [header, seconds] of cases) {
    it(`reads ${String(header)} as ${String(seconds)} s`, () => {
      expect(parseRetryAfter(header, now)).to.equal(seconds);
    });
  }
});
