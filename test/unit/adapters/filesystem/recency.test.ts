import { expect } from 'chai';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sinon from 'sinon';
import { type Entry, Ledger } from '../../../../src/adapters/filesystem/ledger.ts';
import { Recency } from '../../../../src/adapters/filesystem/recency.ts';
import { digestHex, digestOf } from '../../../../src/domain/digest.ts';
import { eventually } from '../../../support/eventually.ts';

const NOW = Date.UTC(2026, 10, 24, 8);

describe('Recency', () => {
  let directory: string;
  let ledger: Ledger;
  let recency: Recency;
  let clock: sinon.SinonFakeTimers;
  beforeEach(() => {
    clock = sinon.useFakeTimers({ now: NOW, toFake: ['Date', 'setTimeout', 'clearTimeout'] });
    directory = mkdtempSync(join(tmpdir(), 'recency-'));
    ledger = new Ledger(1e9);
    recency = new Recency(pathOf);
  });
  afterEach(() => {
    clock.restore();
    rmSync(directory, { recursive: true });
  });

  const pathOf = ({ digest }: Entry): string => join(directory, digestHex(digest));
  const usedAt = (entry: Entry): number => statSync(pathOf(entry)).atimeMs;

  function keep(seed: number): Entry {
    const entry = ledger.add(digestOf(Uint8Array.of(seed)), 1, new Date(0), 0);
    writeFileSync(pathOf(entry), Uint8Array.of(seed));
    return entry;
  }

  it('tells the files when they were used, in their order, also on a clock that stands or goes back', async () => {
    const [a, b, c] = [keep(1), keep(2), keep(3)];
    recency.use(a);
    recency.use(b);
    clock.setSystemTime(NOW - 3_600_000);
    recency.use(c);
    recency.use(a);
    await recency.flush();
    expect(usedAt(b)).to.be.at.least(NOW).and.below(usedAt(c));
    expect(usedAt(c)).to.be.below(usedAt(a));
    clock.setSystemTime(NOW + 1000);
    recency.use(b);
    await recency.flush();
    expect(usedAt(b)).to.be.closeTo(NOW + 1000, 0.01);
  });

  it('tells them by itself after ten seconds, and not before', async () => {
    const entry = keep(1);
    const before = usedAt(entry);
    recency.use(entry);
    clock.tick(9_999);
    expect(usedAt(entry)).to.equal(before);
    clock.tick(1);
    clock.restore();
    await eventually(async () => {
      expect(usedAt(entry)).to.be.closeTo(NOW, 0.01);
    });
  });

  it('has nothing left to tell when it has told it', async () => {
    recency.use(keep(1));
    expect(clock.countTimers()).to.equal(1);
    recency.use(keep(2));
    expect(clock.countTimers()).to.equal(1);
    await recency.flush();
    expect(clock.countTimers()).to.equal(0);
    const entry = keep(3);
    recency.use(entry);
    await recency.flush();
    writeFileSync(pathOf(entry), 'x');
    const path = pathOf(entry);
    rmSync(path);
    writeFileSync(path, 'y');
    const fresh = usedAt(entry);
    await recency.flush();
    expect(usedAt(entry)).to.equal(fresh);
  });

  it('leaves alone what is not kept any more, and misses no file that is gone', async () => {
    const [removed, gone, last] = [keep(1), keep(2), keep(3)];
    const before = usedAt(removed);
    for (const entry of [removed, gone, last]) recency.use(entry);
    ledger.remove(removed);
    rmSync(pathOf(gone));
    await recency.flush();
    expect(usedAt(removed)).to.equal(before);
    expect(usedAt(last))
      .to.be.at.least(NOW)
      .and.below(NOW + 10);
  });
});
