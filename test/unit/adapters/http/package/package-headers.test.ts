import { expect } from 'chai';
import fc from 'fast-check';
import { matchesEtag, parseRange } from '../../../../../src/adapters/http/package/package-headers.ts';
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

  it('finds the own tag at any place among other tags, and no other tag', () => {
    fc.assert(
      fc.property(list, (tags) => {
        const header = tags.map(([[weak, opaque], separator]) => `${weak}"${opaque}"${separator}`).join('');
        expect(matchesEtag(header, '"a"')).to.equal(tags.some(([[, opaque]]) => opaque === 'a'));
      }),
    );
  });

  it('never finds the own tag in a list without it', () => {
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

  it('reads 64 KiB of any text in linear time', () => {
    expectLinear(PIECES, (header) => matchesEtag(header, '"a"'));
  });
});

type RequestedRange = ReturnType<typeof parseRange>;

const ETAG = '"sha256:aa"';
const part = (start: number, end: number): RequestedRange => ({ kind: 'part', start, end });

const RANGE_PIECES = [
  'bytes=',
  'bytes',
  'BYTES=',
  '=',
  '-',
  ',',
  '0',
  '9',
  '9007199254740993',
  ' ',
  '\t',
  '+',
  '.',
  'a',
  '٣',
  '\n',
];

/** RFC 9110 section 14.1.2 once more, without a regular expression of the whole. */
function read(header: string, size: number): RequestedRange {
  const spec = header.slice('bytes='.length).replaceAll('\t', ' ');
  const [word = '', ...others] = spec.split(' ').filter((part) => part !== '');
  const dash = word.indexOf('-');
  const parts = [word.slice(0, dash), word.slice(dash + 1)];
  const isNumber = (text: string): boolean => Array.from(text).every((digit) => '0123456789'.includes(digit));
  if (!header.toLowerCase().startsWith('bytes=') || others.length > 0 || dash < 0 || !parts.every(isNumber)) {
    return { kind: 'whole' };
  }
  const [first, last] = parts.map((text) => (text === '' ? undefined : Number(text)));
  if (first === undefined) {
    if (last === undefined || (last > 0 && size === 0)) return { kind: 'whole' };
    return last === 0 ? { kind: 'unsatisfiable' } : part(size - Math.min(last, size), size);
  }
  if (last !== undefined && last < first) return { kind: 'whole' };
  return first < size ? part(first, Math.min((last ?? size) + 1, size)) : { kind: 'unsatisfiable' };
}

describe('parseRange', () => {
  const cases: [range: string, of: number, expected: object][] = [
    ['', 100, { kind: 'whole' }],
    ['bytes=0-0', 100, part(0, 1)],
    ['bytes=10-19', 100, part(10, 20)],
    ['BYTES= 10-19 ', 100, part(10, 20)],
    ['bytes=90-', 100, part(90, 100)],
    ['bytes=90-1000', 100, part(90, 100)],
    ['bytes=-10', 100, part(90, 100)],
    ['bytes=-1000', 100, part(0, 100)],
    ['bytes=100-', 100, { kind: 'unsatisfiable' }],
    ['bytes=-0', 100, { kind: 'unsatisfiable' }],
    ['bytes=0-', 0, { kind: 'unsatisfiable' }],
    ['bytes=-5', 0, { kind: 'whole' }],
    ['bytes=9999999999999999999-', 100, { kind: 'unsatisfiable' }],
    ['bytes=20-10', 100, { kind: 'whole' }],
    ['bytes=-', 100, { kind: 'whole' }],
    ['bytes=a-b', 100, { kind: 'whole' }],
    ['bytes=0-1,5-6', 100, { kind: 'whole' }],
    ['items=0-1', 100, { kind: 'whole' }],
    ['bytes=99999999999999999999-', 100, { kind: 'unsatisfiable' }],
    [`bytes=-${'9'.repeat(400)}`, 100, part(0, 100)],
  ];
  for (const [range, size, expected] of cases) {
    it(`reads "${range}" of ${String(size)} bytes as ${JSON.stringify(expected)}`, () => {
      expect(parseRange(range, '', ETAG, size)).to.deep.equal(expected);
    });
  }

  it('is used only if If-Range has the right validator', () => {
    expect(parseRange('bytes=0-1', ETAG, ETAG, 100)).to.deep.equal(part(0, 2));
    for (const other of ['"sha256:bb"', `W/${ETAG}`, 'Tue, 24 Nov 2026 08:00:00 GMT']) {
      expect(parseRange('bytes=0-1', other, ETAG, 100)).to.deep.equal({ kind: 'whole' });
    }
  });

  it('returns a valid range or nothing for any input', () => {
    const number = fc.oneof(fc.nat(12), fc.maxSafeNat(), fc.constant('')).map(String);
    const header = fc.tuple(number, number).map(([first, last]) => `bytes=${first}-${last}`);
    fc.assert(
      fc.property(
        fc.oneof(header, nearMiss(header, RANGE_PIECES)),
        fc.oneof(fc.nat(10), fc.maxSafeNat()),
        (text, size) => {
          expect(parseRange(text, '', ETAG, size)).to.deep.equal(read(text, size));
        },
      ),
    );
  });

  it('is ignored for any other validator', () => {
    fc.assert(
      fc.property(nearMiss(fc.constant(ETAG), ['W/', '"', ' ', 'a', ',', '*']), (other) => {
        fc.pre(other !== '' && other !== ETAG);
        expect(parseRange('bytes=0-1', other, ETAG, 100)).to.deep.equal({ kind: 'whole' });
      }),
    );
  });

  it('is read from 64 KiB of any text in linear time', () => {
    expectLinear(RANGE_PIECES, (text) => parseRange(text, '', ETAG, 100));
    expectLinear(RANGE_PIECES, (text) => parseRange(`bytes=${text}`, '', ETAG, 100));
  });
});
