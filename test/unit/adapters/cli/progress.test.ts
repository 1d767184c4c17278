import { expect } from 'chai';
import { Progress } from '../../../../src/adapters/cli/progress.ts';
import { FakeOutput } from '../../../support/fake-terminal.ts';

const MIB = 1024 ** 2;

describe('Progress', () => {
  let seconds: number;
  beforeEach(() => {
    seconds = 0;
  });

  function progress(stderr: FakeOutput, { total = 0, unit = 'bytes', TERM = 'xterm' } = {}): Progress {
    const made = new Progress({ stderr, environment: { TERM } }, { title: 'verify', unit, now: () => seconds * 1000 });
    made.total = total;
    return made;
  }

  describe('on a terminal', () => {
    /** The pictures that were drawn, each anew. */
    const drawn = (stderr: FakeOutput): string[] => stderr.text.split('\r\x1b[K').slice(1);

    it('draws a bar with count, bytes and speed', () => {
      const stderr = new FakeOutput(120);
      const bar = progress(stderr, { total: 100 * MIB });
      seconds = 2;
      bar.advance(50 * MIB, 'a1b2');
      expect(drawn(stderr)).to.deep.equal([
        'verify [####################....................]  50 %  50.0 MiB of 100 MiB  25.0 MiB/s  2 s left  a1b2',
      ]);
    });

    it('draws at most ten times a second', () => {
      const stderr = new FakeOutput(80);
      const bar = progress(stderr, { total: 1000 });
      for (seconds = 0; seconds < 1; seconds += 1 / 256) bar.advance(1);
      expect(drawn(stderr)).to.have.length.within(9, 10);
    });

    it('never fills the last column, however narrow the terminal is or becomes', () => {
      const stderr = new FakeOutput(200);
      const bar = progress(stderr, { total: 100 * MIB });
      for (const columns of [200, 80, 60, 40, 20, 12, 5, 1]) {
        stderr.columns = columns;
        seconds += 2;
        bar.advance(MIB, 'a name that is rather long');
        expect(drawn(stderr).at(-1)).to.have.length.below(columns);
      }
      expect(drawn(stderr)[1]).to.match(/^verify \[#*\.+\] {3}2 % /);
      expect(drawn(stderr)[4]).to.equal('verify   5 %');
    });

    it('counts without a bar while the total is not known', () => {
      const stderr = new FakeOutput(80);
      progress(stderr, { unit: 'packages' }).advance(3);
      expect(drawn(stderr)).to.deep.equal(['verify  3 packages']);
    });

    it('clears the bar for other lines, draws it again after them, and removes it at the end', () => {
      const stderr = new FakeOutput(80);
      const bar = progress(stderr, { total: 4, unit: 'packages' });
      bar.advance(1);
      bar.clear();
      stderr.write('one is damaged\n');
      bar.advance(1);
      bar.end();
      expect(stderr.text).to.match(/ 25 % .*\r\x1b\[Kone is damaged\n\r\x1b\[Kverify .* 50 % .*\r\x1b\[K$/);
    });

    it('never shows more than 100 % if more bytes arrive than expected', () => {
      const stderr = new FakeOutput(80);
      progress(stderr, { total: 4, unit: 'packages' }).advance(5);
      expect(drawn(stderr)[0]).to.include('#] 100 %  5 of 4 packages');
    });
  });

  for (const [where, stderr, TERM] of [
    ['in a pipe', () => new FakeOutput(), 'xterm'],
    ['on a dumb terminal', () => new FakeOutput(80), 'dumb'],
  ] as const) {
    describe(where, () => {
      it('prints only the result of a short run', () => {
        const output = stderr();
        const lines = progress(output, { total: 100 * MIB, TERM });
        seconds = 4;
        lines.advance(100 * MIB);
        lines.clear();
        expect(output.text).to.equal('');
        lines.end();
        expect(output.text).to.equal('verify: 100 MiB of 100 MiB, 4 s, 25.0 MiB/s\n');
      });

      it('prints a line for each tenth, at most every five seconds and at least every minute', () => {
        const output = stderr();
        const lines = progress(output, { total: 1000, unit: 'packages', TERM });
        const advance = (until: number, amount: number): number => {
          seconds = until;
          lines.advance(amount);
          return output.text.split('\n').length - 1;
        };
        expect(advance(4, 500)).to.equal(0);
        expect(advance(5, 1)).to.equal(1);
        expect(advance(11, 98)).to.equal(1);
        expect(advance(12, 2)).to.equal(2);
        expect(advance(71, 1)).to.equal(2);
        expect(advance(72, 1)).to.equal(3);
        expect(output.text).to.equal(
          'verify: 501 of 1000 packages, 5 s\nverify: 601 of 1000 packages, 12 s\nverify: 603 of 1000 packages, 1 min 12 s\n',
        );
      });
    });
  }
});
