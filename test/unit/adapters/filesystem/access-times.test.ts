import { expect } from 'chai';
import { mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sinon from 'sinon';
import { type Entry, Ledger } from '../../../../src/adapters/filesystem/ledger.ts';
import { AccessTimes } from '../../../../src/adapters/filesystem/access-times.ts';
import { digestHex, digestOf } from '../../../../src/domain/descriptor.ts';
import { eventually } from '../../../support/eventually.ts';

const NOW = Date.UTC(2026, 10, 24, 8);

describe('AccessTimes', () => {
  let directory: string;
  let ledger: Ledger;
  let accessTimes: AccessTimes;
  let clock: sinon.SinonFakeTimers;
  beforeEach(() => {
    clock = sinon.useFakeTimers({ now: NOW, toFake: ['Date', 'setTimeout', 'clearTimeout'] });
    directory = mkdtempSync(join(tmpdir(), 'accessTimes-'));
    ledger = new Ledger(1e9);
    accessTimes = new AccessTimes(pathOf);
  });
  afterEach(() => {
    clock.restore();
    rmSync(directory, { recursive: true });
  });

  const pathOf = ({ digest }: Entry): string => join(directory, digestHex(digest));
  const usedAt = (entry: Entry): number => statSync(pathOf(entry)).atimeMs;

  function keep(seed: number): Entry {
    const entry = ledger.add(digestOf(Uint8Array.of(seed, seed >> 8)), 1, new Date(0), 0);
    writeFileSync(pathOf(entry), Uint8Array.of(seed));
    return entry;
  }

  it('writes the order of use into the times of the files, also if the clock stands still or goes back', async () => {
    const [a, b, c] = [keep(1), keep(2), keep(3)];
    accessTimes.use(a);
    accessTimes.use(b);
    clock.setSystemTime(NOW - 3_600_000);
    accessTimes.use(c);
    accessTimes.use(a);
    await accessTimes.flush();
    expect(usedAt(b)).to.be.at.least(NOW).and.below(usedAt(c));
    expect(usedAt(c)).to.be.below(usedAt(a));
    clock.setSystemTime(NOW + 1000);
    accessTimes.use(b);
    await accessTimes.flush();
    expect(usedAt(b)).to.be.closeTo(NOW + 1000, 0.01);
  });

  it('writes the times after ten seconds, and not before', async () => {
    const entry = keep(1);
    const before = usedAt(entry);
    accessTimes.use(entry);
    clock.tick(9_999);
    expect(usedAt(entry)).to.equal(before);
    clock.tick(1);
    clock.restore();
    await eventually(async () => {
      expect(usedAt(entry)).to.be.closeTo(NOW, 0.01);
    });
  });

  it('writes the times of 2 000 files in ten seconds, the oldest changes first, and the rest later or at a stop', async () => {
    const entries = Array.from({ length: 4001 }, (_, seed) => keep(seed));
    for (const entry of entries) utimesSync(pathOf(entry), 0, 0);
    for (const entry of entries) accessTimes.use(entry);
    const isWritten = (index: number): boolean => entries.slice(index, index + 1).some((entry) => usedAt(entry) > 0);
    for (const count of [2000, 4000]) {
      clock.tick(10_000);
      while (!isWritten(count - 1)) await new Promise((resolve) => setImmediate(resolve));
      expect(isWritten(count)).to.equal(false);
    }
    await accessTimes.flush();
    expect(isWritten(4000)).to.equal(true);
    expect(clock.countTimers()).to.equal(0);
  });

  it('writes each change only once', async () => {
    accessTimes.use(keep(1));
    expect(clock.countTimers()).to.equal(1);
    accessTimes.use(keep(2));
    expect(clock.countTimers()).to.equal(1);
    await accessTimes.flush();
    expect(clock.countTimers()).to.equal(0);
    const entry = keep(3);
    accessTimes.use(entry);
    await accessTimes.flush();
    writeFileSync(pathOf(entry), 'x');
    const path = pathOf(entry);
    rmSync(path);
    writeFileSync(path, 'y');
    const fresh = usedAt(entry);
    await accessTimes.flush();
    expect(usedAt(entry)).to.equal(fresh);
  });

  it('ignores blobs that are no longer cached, and missing files', async () => {
    const [removed, gone, last] = [keep(1), keep(2), keep(3)];
    const before = usedAt(removed);
    for (const entry of [removed, gone, last]) accessTimes.use(entry);
    ledger.remove(removed);
    rmSync(pathOf(gone));
    await accessTimes.flush();
    expect(usedAt(removed)).to.equal(before);
    expect(usedAt(last))
      .to.be.at.least(NOW)
      .and.below(NOW + 10);
  });
});
