import { expect } from 'chai';
import fc from 'fast-check';
import { matchesEtag } from '../../../../../src/adapters/http/package/conditional.ts';
import { expectLinear, nearMiss } from '../../../../support/hostile-text.ts';

const PIECES = ['"', 'W/', 'w/', '"a"', 'a', ',', ' ', '\t', '*', '\\', 'W/W/'];
/** RFC 9110 section 8.8.3: commas too. */
const tag = fc.tuple(fc.constantFrom('', 'W/'), fc.stringMatching(/^[!#-~]{0,3}$/));
const list = fc.array(fc.tuple(tag, fc.constantFrom(',', ' , ', ',\t,')), { minLength: 1, maxLength: 5 });

describe('matchesEtag', () => {
  const cases: [header: string, expected: boolean | 'any'][] = [
    ['', false],
    ['"a"', true],
    ['W/"a"', true],
    ['"x", W/"y" ,"a"', true],
    ['"x",\tW/"a"', true],
    ['"x,a"', false],
    ['xW/"a"', false],
    ['W/W/"a"', false],
    ['"W/a"', false],
    ['"b"', false],
    ['a', false],
    [' * ', 'any'],
  ];
  for (const [header, expected] of cases) {
    it(`answers ${String(expected)} to [${header}] about "a"`, () => {
      expect(matchesEtag(header, '"a"')).to.equal(expected);
    });
  }

  it('finds ours wherever it stands among others, and nothing else', () => {
    fc.assert(
      fc.property(list, (tags) => {
        const header = tags.map(([[weak, opaque], separator]) => `${weak}"${opaque}"${separator}`).join('');
        expect(matchesEtag(header, '"a"')).to.equal(tags.some(([[, opaque]]) => opaque === 'a'));
      }),
    );
  });

  it('never finds ours where it is not written', () => {
    const near = nearMiss(
      list.map((tags) => tags.map(([[weak, opaque], separator]) => `${weak}"${opaque}"${separator}`).join('')),
      PIECES,
    );
    fc.assert(
      fc.property(fc.oneof(near, fc.string({ unit: 'binary' })), (header) => {
        const found = matchesEtag(header, '"a"');
        if (found === 'any') expect(header.trim()).to.equal('*');
        else if (found) expect(header.split(',').map((part) => part.trim())).to.include.oneOf(['"a"', 'W/"a"']);
      }),
    );
  });

  it('reads 64 KiB of anything in linear time', () => {
    expectLinear(PIECES, (header) => matchesEtag(header, '"a"'));
  });
});
