import { expect } from 'chai';
import { matchesEtag } from '../../../../src/adapters/http/conditional.ts';

describe('matchesEtag', () => {
  const cases: [header: string, expected: boolean | 'any'][] = [
    ['', false],
    ['"a"', true],
    ['W/"a"', true],
    ['"x", W/"y" ,"a"', true],
    ['"b"', false],
    ['a', false],
    [' * ', 'any'],
  ];
  for (const [header, expected] of cases) {
    it(`answers ${String(expected)} to [${header}] about "a"`, () => {
      expect(matchesEtag(header, '"a"')).to.equal(expected);
    });
  }
});
