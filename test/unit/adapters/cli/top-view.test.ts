import { expect } from 'chai';
import fc from 'fast-check';
import { type Sample, sampleOf } from '../../../../src/adapters/cli/top-sample.ts';
import { picture, plainLine } from '../../../../src/adapters/cli/top-view.ts';
import { arriving, statusAt } from '../../../support/service-status.ts';

const URL = 'http://127.0.0.1:5080';
const AWAY: Sample = { state: 'away', url: URL, at: '2026-01-01T00:02:00.000Z', error: 'ECONNREFUSED: no service' };
const failure = {
  ...{ digest: null, repository: 'registry.example.com/\x1b[2Jmodules', path: 'a\nb', status: 502, code: 'DENIED' },
  ...{ detail: 'refused\x07', count: 12, last_at: '2026-01-01T00:00:58.000Z' },
};
const outcomes = { hit: 982, miss: 10, joined: 8, bypass: 0 };
const before = statusAt(50, { list: [arriving(1)] });
const busy = statusAt(60, {
  outcomes,
  minutes: [{ hits: 982, misses: 18, failures: 2, bytes: 3 * 1024 ** 3 }],
  list: [
    arriving(1, { bytes: 9000, received_at: '2026-01-01T00:00:59.500Z' }),
    arriving(2, { received_at: '2026-01-01T00:00:40.000Z' }),
    arriving(3, { queued: true, opened_at: null, bytes: 0, repository: '', path: null }),
  ],
  failures: [failure],
});
const running = sampleOf(URL, busy, before);
const usual = { columns: 100, rows: 24, isColoured: false };

describe('top', () => {
  it('shows requests, cache, each download with speed and waiting clients, and the last failures', () => {
    expect(picture(running, running, usual)).to.deep.equal([
      'master-0  1.2.3  up 1 min 0 s  00:01:00',
      'ready  q quits',
      '',
      'requests   100.0/s  hits 98.2 %  sent 307 MiB/s  2 failed',
      'last hour  1000 packages  hits 98.2 %  sent 3.0 GiB  2 failed',
      'cache      [#####.....] 50 %  512 B of 1.0 KiB  2 blobs  0 evicted  0 damaged',
      'downloads  3 of 64  500 B/s  9 waiting  0 queued',
      '  [#########.]  90 %       400 B/s    3 waiting  3 s left        ingress sha256:111111111111',
      '  [#####.....]  50 %   silent 20 s    3 waiting  50 s left       ingress sha256:222222222222',
      '  [..........]   0 %        queued    3 waiting                  sha256:333333333333',
      '',
      'last failures',
      '  00:00:58  12 ×  502  refused?  registry.example.com/?[2Jmodules/a b',
    ]);
  });

  it('writes one line for each sample if the output is a file', () => {
    expect(plainLine(running)).to.equal(
      '00:01:00  requests 100.0/s, hits 98.2 %, sent 307 MiB/s  2 failed  downloads 3 of 64, 500 B/s, 9 waiting, 0 queued  cache [#####.....] 50 % 512 B of 1.0 KiB',
    );
    expect(plainLine(AWAY)).to.equal('00:02:00  no answer: ECONNREFUSED: no service');
    expect(plainLine({ ...running, state: 'restarted' })).to.include('  restarted  ');
  });

  it('shows that a service cannot be reached, with its last values, and that a service is not ready', () => {
    const gone = picture(AWAY, running, usual);
    expect(gone[1]).to.equal('no answer  ECONNREFUSED: no service');
    expect(gone[6]).to.include('9 waiting');
    const service = { ...running.service, ready: false, missing: ['no registry\nis known'] };
    const fresh = { ...running, state: 'restarted', service } as const;
    expect(picture(fresh, fresh, usual)[1]).to.equal(
      'not ready: no registry is known  restarted: counts begin anew  q quits',
    );
  });

  it('fits into any terminal, and prints no control characters of the service', () => {
    const many = sampleOf(
      URL,
      { ...busy, downloads: { ...busy.downloads, list: Array(90).fill(arriving(4)) } },
      before,
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 90 }), (columns, rows) => {
        for (const sample of [running, many, AWAY]) {
          const lines = picture(sample, sample === many ? many : running, { columns, rows, isColoured: false });
          expect(lines.length).to.be.at.most(rows);
          for (const line of lines) {
            expect(line.length).to.be.at.most(Math.max(0, columns - 1));
            expect(line).to.match(/^\P{C}*$/u);
          }
        }
      }),
    );
  });

  it('shows how many downloads are left out, and leaves room for failures', () => {
    const list = Array.from({ length: 90 }, () => arriving(4));
    const many = sampleOf(URL, { ...busy, downloads: { ...busy.downloads, list } }, before);
    const lines = picture(many, many, { ...usual, rows: 20 });
    expect(lines.filter((line) => line.includes('% '))).to.have.length.greaterThan(5);
    expect(lines).to.include('… and 81 more');
    expect(lines).to.include('last failures');
  });

  it('colours only the state', () => {
    const colours = /\x1b\[(?:0|1|31|32)m/g;
    const painted = picture(running, running, { ...usual, isColoured: true });
    expect(painted.map((line) => line.replaceAll(colours, ''))).to.deep.equal(picture(running, running, usual));
    expect(painted[1]).to.equal('\x1b[32mready  q quits\x1b[0m');
    expect(picture(AWAY, running, { ...usual, isColoured: true })[1]).to.match(/^\x1b\[31m/);
  });
});
