import { expect } from 'chai';
import fc from 'fast-check';
import { parseRetryAfter, retryAfterOf } from '../../../../../src/adapters/registry/transport/http-message.ts';
import { expectLinear, nearMiss } from '../../../../support/hostile-text.ts';

const PIECES = [
  ...['0', '9', '1.5', '-', '+', 'e3', ' ', ',', ':', ', ', 'GMT', 'Z', '+01:00', 'Tue', 'Nov', '2026', '24', '\n'],
  ...['08:00:05', '(', ')', 'a', '٣'],
];
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

/** RFC 9110 section 5.6.7: the form that is to be written, and the two that are to be read all the same. */
function datesOf(date: Date): string[] {
  const [weekday = '', day = '', month = '', year = '', time = ''] = date.toUTCString().split(/,? /);
  return [
    date.toUTCString(),
    `${DAYS[date.getUTCDay()] ?? ''}, ${day}-${month}-${year.slice(2)} ${time} GMT`,
    `${weekday} ${month} ${day.replace(/^0/, ' ')} ${time} ${year}`,
  ];
}

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
    ['Tuesday, 24-Nov-26 08:00:05 GMT', 5],
    ['Tue Nov 24 08:00:05 2026', 5],
    ['Tue, 24 Nov 2026 25:00:05 GMT', undefined],
    ['-5', undefined],
    ['+5', undefined],
    ['1.5', undefined],
    ['5 s', undefined],
    ['120, 120', undefined],
    ['2026', 60],
    ['2026-11-24', undefined],
    ['soon', undefined],
    ['soon 5', undefined],
    ['', undefined],
    ['1'.repeat(65), undefined],
  ];
  for (const [header, seconds] of cases) {
    it(`reads ${String(header)} as ${String(seconds)} s`, () => {
      expect(parseRetryAfter(header, now)).to.equal(seconds);
    });
  }

  it('reads seconds, and a date in each of its three forms', () => {
    fc.assert(
      fc.property(fc.nat(), (seconds) => {
        expect(parseRetryAfter(String(seconds), now)).to.equal(Math.min(seconds, 60));
      }),
    );
    fc.assert(
      fc.property(fc.integer({ min: -1e6, max: 1e6 }), (seconds) => {
        const date = new Date(now.getTime() + seconds * 1000);
        const expected = Math.min(Math.max(seconds, 0), 60);
        expect(datesOf(date).map((text) => parseRetryAfter(text, now))).to.deep.equal([expected, expected, expected]);
      }),
    );
  });

  it('returns whole seconds up to a minute, or nothing, for any input', () => {
    const written = fc.oneof(
      fc.nat().map(String),
      fc.date({ noInvalidDate: true }).chain((date) => fc.constantFrom(...datesOf(date))),
    );
    fc.assert(
      fc.property(fc.oneof(nearMiss(written, PIECES), fc.string({ unit: 'binary' })), (text) => {
        const seconds = parseRetryAfter(text, now);
        if (seconds === undefined) return;
        expect(seconds % 1).to.equal(0);
        expect(seconds).to.be.within(0, 60);
        expect(text.trim()).to.match(/^\d+$|\d\d:\d\d:\d\d/);
      }),
    );
  });

  it('reads 64 KiB of any text in linear time', () => {
    expectLinear(PIECES, (text) => parseRetryAfter(text, now));
  });
});

describe('retryAfterOf', () => {
  const from = (ms: number): string => new Date(Date.now() + ms).toUTCString();

  it('reads a date by the clock of its sender', () => {
    expect(retryAfterOf({ date: from(-3600_000), 'retry-after': from(-3600_000 + 5000) })).to.equal(5);
    expect(retryAfterOf({ date: from(3600_000), 'retry-after': from(3600_000 + 5000) })).to.equal(5);
  });

  it('reads it by the local clock if the answer has no valid date', () => {
    expect(retryAfterOf({ 'retry-after': from(20_000) })).to.be.within(18, 20);
    expect(retryAfterOf({ 'retry-after': from(20_000), date: 'now' })).to.be.within(18, 20);
    expect(retryAfterOf({ 'retry-after': '7', date: 'now' })).to.equal(7);
  });
});
