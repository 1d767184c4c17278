import { expect } from 'chai';
import { formatBytes, formatSeconds } from '../../../../src/adapters/cli/format-amount.ts';

describe('formatBytes', () => {
  for (const [bytes, text] of [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [9.75 * 1024 ** 2, '9.8 MiB'],
    [99.96 * 1024 ** 2, '100 MiB'],
    [1024 ** 3 - 1, '1.0 GiB'],
    [312 * 1024 ** 3, '312 GiB'],
    [2 ** 62, '4096 PiB'],
  ] as const) {
    it(`writes ${String(bytes)} as ${text}`, () => {
      expect(formatBytes(bytes)).to.equal(text);
    });
  }
});

describe('formatSeconds', () => {
  for (const [seconds, text] of [
    [0.4, '0 s'],
    [59.4, '59 s'],
    [59.6, '1 min 0 s'],
    [200, '3 min 20 s'],
    [7530, '2 h 5 min'],
  ] as const) {
    it(`writes ${String(seconds)} as ${text}`, () => {
      expect(formatSeconds(seconds)).to.equal(text);
    });
  }
});
