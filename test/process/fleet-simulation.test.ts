import { expect } from 'chai';
import { DESIGNS } from '../../bench/fleet/designs.ts';
import { measuredCost, type Rates, ratesOf } from '../../bench/fleet/rates.ts';
import { type Outcome, packagesOfRelease, simulate, type Upgrade } from '../../bench/fleet/simulation.ts';
import { duration } from '../../bench/fleet/tables.ts';

/** In bytes per second; nodes begin in the same moment. */
const RATES: Rates = {
  registry: 30,
  master: 100,
  masters: 3,
  node: 50,
  nodeUpload: 25,
  bucket: 1000,
  balancer: 100,
};

function outcome(name: RegExp, nodes: number, more: Partial<Upgrade> = {}): Outcome {
  const design = DESIGNS.find((one) => name.test(one.name));
  if (design === undefined) throw new Error(`no design ${String(name)}`);
  return simulate(design, { nodes, packages: [600], spreadSeconds: 0, rates: RATES, seed: 1, ...more });
}

describe('the simulation of an upgrade', () => {
  it('takes the time of one download for one node: 600 bytes at 30 a second', () => {
    const { seconds, registryBytes, masterBytes } = outcome(/^none/, 1);
    expect([seconds, registryBytes, masterBytes].map(Math.round)).to.deep.equal([20, 600, 600]);
  });

  it('takes the time of three downloads over the link of the registry if many nodes ask all masters', () => {
    const { seconds, registryBytes } = outcome(/^none/, 9);
    expect([seconds, registryBytes].map(Math.round)).to.deep.equal([60, 1800]);
  });

  it('takes at least the time in which the masters send all bytes at their full rate', () => {
    const { seconds } = outcome(/^none/, 3000, { rates: { ...RATES, registry: 1e9 } });
    // 1 800 000 bytes at 300 a second; the dice do not give each master the same number of nodes.
    expect(seconds).to.be.within(6000, 6600);
  });

  it('requests the registry once behind a balancer, and sends all bytes through one master and the balancer', () => {
    const { seconds, registryBytes, masterBytes } = outcome(/^balancer/, 30, { rates: { ...RATES, registry: 1e9 } });
    expect([seconds, registryBytes, masterBytes].map(Math.round)).to.deep.equal([180, 600, 18_000]);
  });

  it('fetches a package three times from the registry if all masters miss it in the same second, also with a bucket', () => {
    expect(Math.round(outcome(/^bucket/, 300).registryBytes)).to.equal(3 * 600);
  });

  it('reads a package from the bucket if another master has written it before', () => {
    const spread = { packages: Array.from({ length: 20 }, () => 600), spreadSeconds: 300 };
    const [none, bucket] = [outcome(/^none/, 30, spread), outcome(/^bucket/, 30, spread)];
    expect(bucket.registryBytes)
      .to.be.at.least(20 * 600)
      .and.below(0.9 * none.registryBytes);
    expect(bucket.seconds).to.be.at.most(none.seconds * 1.001);
  });

  it('sends no bytes from masters and registry if a full store serves', () => {
    const { registryBytes, masterBytes, seconds } = outcome(/10 Gbit/, 10);
    expect([registryBytes, masterBytes, seconds].map(Math.round)).to.deep.equal([0, 0, 12]);
  });

  it('fetches one copy of each package from the registry by pieces, and a part from the masters', () => {
    const { registryBytes, masterBytes } = outcome(/pieces/, 1000, {
      packages: packagesOfRelease(),
      rates: ratesOf({ cpuSecondsPerGiB: 1 }),
    });
    const release = packagesOfRelease().reduce((sum, bytes) => sum + bytes, 0);
    expect(registryBytes / release).to.be.closeTo(1, 0.001);
    expect((3 * masterBytes) / release).to.be.within(1, 200);
  });

  for (const design of DESIGNS)
    it(`has the same result for the same seed: ${design.name}`, () => {
      const run = (seed: number): Outcome =>
        simulate(design, {
          nodes: 40,
          packages: packagesOfRelease(),
          spreadSeconds: 5,
          rates: ratesOf({ cpuSecondsPerGiB: 1.2 }),
          seed,
        });
      expect(run(7)).to.deep.equal(run(7));
      expect(run(7)).not.to.deep.equal(run(8));
    });
});

describe('the rates of the simulation', () => {
  it('are those of docs/performance.md', () => {
    const { cpuSecondsPerGiB } = measuredCost();
    expect(cpuSecondsPerGiB).to.be.within(0.3, 5);
  });

  it('are limited by the processors of a master if these are the bottleneck', () => {
    expect(ratesOf({ cpuSecondsPerGiB: 4 }).master).to.equal(1024 ** 3 / 2);
    expect(ratesOf({ cpuSecondsPerGiB: 0.1 }).master).to.equal(1.25e9);
  });

  it('cannot be read if the report lacks the row', () => {
    expect(() => measuredCost('# Performance\n')).to.throw('has no row for the sidecar');
  });
});

describe('durations', () => {
  for (const [seconds, text] of [
    [52.4, '52 s'],
    [1722, '29 min'],
    [20_619, '5.73 h'],
  ] as const)
    it(`are formatted with a readable unit: ${text}`, () => {
      expect(duration(seconds)).to.equal(text);
    });
});
