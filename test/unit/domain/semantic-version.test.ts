import { expect } from 'chai';
import { isVersionTag, latestOf } from '../../../src/domain/semantic-version.ts';

describe('isVersionTag', () => {
  for (const text of [
    'v1.2.3',
    '1.2.3',
    '1',
    'v1',
    '1.2',
    '01.2.3',
    'v1.2.3-rc.1',
    '1-alpha',
    '1.0.0--',
    'v1.0.0-0a.-b',
  ]) {
    it(`takes ${text}`, () => {
      expect(isVersionTag(text)).to.equal(true);
    });
  }

  for (const text of [
    '',
    'v',
    'latest',
    '1.2.3.4',
    'v1.2.3+build',
    '1.',
    '1.2.3-',
    '1.2.3-a..b',
    'V1.0.0',
    ' 1',
    '1\n',
    `1.0.0-${'a'.repeat(128)}`,
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(isVersionTag(text)).to.equal(false);
    });
  }
});

describe('latestOf', () => {
  it('orders versions by the precedence of SemVer, pre-releases included', () => {
    // Section 11, examples of 2, 3 and 4.
    const ordered = [
      '1.0.0-alpha',
      '1.0.0-alpha.1',
      '1.0.0-alpha.beta',
      '1.0.0-beta',
      '1.0.0-beta.2',
      '1.0.0-beta.11',
      '1.0.0-rc.1',
      'v1.0.0',
      '1.0.1-0',
      '1.1',
      'v1.9.0',
      'v1.10.0-rc.1',
      'v1.10.0',
      '2',
      'v3.99999999999999999998.0',
      'v3.99999999999999999999.0',
    ];
    for (let count = 1; count <= ordered.length; count++) {
      const tags = ordered.slice(0, count);
      expect(latestOf(tags), tags.join()).to.equal(tags.at(-1));
      expect(latestOf(tags.toReversed()), tags.join()).to.equal(tags.at(-1));
    }
  });

  it('returns the version as in its tag, and the first of equal ones', () => {
    expect(latestOf(['v1.0.0', '1.0.0', '1.0', '01'])).to.equal('v1.0.0');
    expect(latestOf(['1', 'v1.0.0'])).to.equal('1');
    expect(latestOf(['1.0.0-01', '1.0.0-1'])).to.equal('1.0.0-01');
  });

  it('skips tags that are not versions', () => {
    expect(latestOf(['latest', 'sha256-abc.sig', 'v0.0.1', 'stable'])).to.equal('v0.0.1');
    expect(latestOf(['latest', 'stable'])).to.equal(undefined);
    expect(latestOf([])).to.equal(undefined);
  });
});
