import { expect } from 'chai';
import {
  ageOf,
  clockText,
  countText,
  shareText,
  sizeText,
  spanText,
} from '../../../../../src/adapters/http/status/quantities.ts';

const KIB = 1024;

describe('the quantities of the status page', () => {
  it('are sizes of three digits in binary units', () => {
    const sizes: [bytes: number, text: string][] = [
      [0, '0 B'],
      [1023, '1023 B'],
      [KIB, '1.00 KiB'],
      [10 * KIB - 1, '10.0 KiB'],
      [100 * KIB - 1, '100 KiB'],
      [1023.6 * KIB, '1.00 MiB'],
      [12.34 * KIB ** 2, '12.3 MiB'],
      [KIB ** 3, '1.00 GiB'],
      [5000 * KIB ** 4, '5000 TiB'],
    ];
    for (const [bytes, text] of sizes) expect(sizeText(bytes)).to.equal(text);
  });

  it('are shares, with 100 % only for the whole, and no share of nothing', () => {
    expect(shareText(999_999, 1_000_000)).to.equal('99 %');
    expect(shareText(7, 7)).to.equal('100 %');
    expect(shareText(0, 0)).to.equal('0 %');
  });

  it('are durations in the largest unit with at least two', () => {
    const spans: [seconds: number, text: string][] = [
      [-5, '0 s'],
      [0.4, '0 s'],
      [119, '119 s'],
      [120, '2 min'],
      [7199, '119 min'],
      [7200, '2 h'],
      [172_800, '2 d'],
    ];
    for (const [seconds, text] of spans) expect(spanText(seconds * 1000)).to.equal(text);
  });

  it('are times in a readable form and in a machine-readable form', () => {
    const at = new Date('2026-11-25T16:05:27.123Z');
    expect(clockText(at)).to.equal('16:05:27');
    expect(String(ageOf(at, new Date('2026-11-25T16:08:30Z')))).to.equal(
      '<time datetime="2026-11-25T16:05:27.123Z" title="2026-11-25T16:05:27.123Z">3 min ago</time>',
    );
  });

  it('are counts with separated thousands', () => {
    expect(countText(1234567)).to.equal('1,234,567');
  });
});
