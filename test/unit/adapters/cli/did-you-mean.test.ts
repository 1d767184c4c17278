import { expect } from 'chai';
import { didYouMean } from '../../../../src/adapters/cli/did-you-mean.ts';

describe('didYouMean', () => {
  const NAMES = ['serve', 'check-config', 'mirror', '--cache-directory', '--cache-retention-size'];

  for (const [typed, meant] of [
    ['serv', 'serve'],
    ['sevre', undefined],
    ['checkconfig', 'check-config'],
    ['miror', 'mirror'],
    ['--cache-dir', '--cache-directory'],
    ['--cache_retention_size', '--cache-retention-size'],
    ['delete', undefined],
    ['x', undefined],
  ] as const) {
    it(`takes ${typed} for ${meant ?? 'nothing that there is'}`, () => {
      expect(didYouMean(typed, NAMES)).to.equal(meant === undefined ? '' : `, did you mean ${meant}?`);
    });
  }
});
