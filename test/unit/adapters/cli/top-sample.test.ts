import { expect } from 'chai';
import { sampleOf } from '../../../../src/adapters/cli/top-sample.ts';
import { arriving, statusAt } from '../../../support/service-status.ts';

const URL = 'http://127.0.0.1:5080';

describe('a sample of top', () => {
  it('counts events since the last sample, also across the start of a minute', () => {
    const before = statusAt(50, {
      outcomes: { hit: 10, miss: 2, joined: 0, bypass: 0 },
      minutes: [{ hits: 10, misses: 2, failures: 1, bytes: 1000 }],
    });
    const now = statusAt(70, {
      outcomes: { hit: 17, miss: 3, joined: 4, bypass: 1 },
      minutes: [
        { hits: 12, misses: 2, failures: 1, bytes: 1500 },
        { hits: 5, misses: 6, failures: 2, bytes: 700 },
      ],
    });
    expect(sampleOf(URL, now, before)).to.deep.include({
      state: 'running',
      interval: { seconds: 20, hits: 7, misses: 1, joined: 4, bypasses: 1, failures: 2, bytes: 1200 },
      last_hour: { hits: 17, misses: 8, failures: 3, bytes: 2200 },
    });
  });

  it('starts again with a service that has restarted', () => {
    const before = statusAt(50, { outcomes: { hit: 10, miss: 2, joined: 0, bypass: 0 } });
    const now = { ...statusAt(60, {}), started_at: '2026-01-01T00:00:55.000Z' };
    expect(sampleOf(URL, now, before)).to.include({ state: 'restarted', interval: null });
  });

  it('measures the speed of a download since the last sample, and of a new one since its start', () => {
    const [old, young] = [
      arriving(1, { bytes: 1000 }),
      arriving(2, { bytes: 300, opened_at: '2026-01-01T00:00:59.000Z' }),
    ];
    const before = statusAt(50, { list: [old] });
    const now = statusAt(60, { list: [{ ...old, bytes: 6000 }, young] });
    const { downloads } = sampleOf(URL, now, before);
    expect(downloads.list.map((one) => one.bytes_per_second)).to.deep.equal([500, 300]);
  });

  it('shows no speed for a queued download, and no negative speed for one that starts again', () => {
    const [waiting, again] = [arriving(1, { opened_at: null, bytes: 0 }), arriving(2, { bytes: 5000 })];
    const before = statusAt(50, { list: [again] });
    const now = statusAt(60, { list: [waiting, { ...again, bytes: 100, opened_at: '2026-01-01T00:00:58.000Z' }] });
    const { downloads } = sampleOf(URL, now, before);
    expect(downloads.list.map((one) => one.bytes_per_second)).to.deep.equal([null, 50]);
  });
});
