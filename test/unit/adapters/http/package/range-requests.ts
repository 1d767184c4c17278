/** Range and conditional requests for a package by RFC 9110 sections 13 and 14, row by row. */

/** Bytes of the package that the rows are about. */
export const SIZE = 200_000;

export interface RangeRequest {
  readonly why: string;
  /** GET unless it says otherwise. */
  readonly method?: 'HEAD';
  /** `ETAG` stands for the package's own. */
  readonly headers: Readonly<Record<string, string | string[]>>;
  /** The whole, the first and the last byte of a part, or no package at all. */
  readonly expected: 'whole' | readonly [first: number, last: number] | 'not modified' | 'unsatisfiable';
}

const LAST = SIZE - 1;
const OTHER = `"sha256:${'0'.repeat(64)}"`;
const DATE = 'Tue, 24 Nov 2026 08:00:00 GMT';
const FAR = '9'.repeat(30);

const range = (why: string, value: string | string[], expected: RangeRequest['expected']): RangeRequest => ({
  why,
  headers: { range: value },
  expected,
});

const ifRange = (why: string, value: string, expected: RangeRequest['expected'], of = 'bytes=10-19'): RangeRequest => ({
  why,
  headers: { range: of, 'if-range': value },
  expected,
});

const ifNoneMatch = (why: string, value: string | string[], expected: RangeRequest['expected']): RangeRequest => ({
  why,
  headers: { 'if-none-match': value },
  expected,
});

export const RANGE_REQUESTS: readonly RangeRequest[] = [
  { why: 'no condition and no range', headers: {}, expected: 'whole' },

  range('the first byte', 'bytes=0-0', [0, 0]),
  range('bytes in the middle', 'bytes=1000-1999', [1000, 1999]),
  range('the last byte', `bytes=${String(LAST)}-${String(LAST)}`, [LAST, LAST]),
  range('all bytes, by their numbers', `bytes=0-${String(LAST)}`, [0, LAST]),
  range('the end that no client sees before it is proved', `bytes=${String(SIZE - 65_536)}-`, [SIZE - 65_536, LAST]),
  range('from the first byte on', 'bytes=0-', [0, LAST]),
  range('from some byte on', 'bytes=150000-', [150_000, LAST]),
  range('from the last byte on', `bytes=${String(LAST)}-`, [LAST, LAST]),
  range('the last byte, as a suffix', 'bytes=-1', [LAST, LAST]),
  range('a suffix', 'bytes=-70000', [SIZE - 70_000, LAST]),
  range('a suffix of all bytes', `bytes=-${String(SIZE)}`, [0, LAST]),
  range('a suffix longer than the package', `bytes=-${String(SIZE + 1)}`, [0, LAST]),
  range('a suffix longer than any number', `bytes=-${FAR}`, [0, LAST]),
  range('an end beyond the last byte', `bytes=199990-${String(SIZE)}`, [199_990, LAST]),
  range('an end beyond any number', `bytes=199990-${FAR}`, [199_990, LAST]),
  range('leading zeros', 'bytes=0005-0009', [5, 9]),
  range('a unit in upper case', 'BYTES=0-4', [0, 4]),
  range('blanks around the range', 'bytes= \t0-4\t', [0, 4]),

  range('a start behind the last byte', `bytes=${String(SIZE)}-`, 'unsatisfiable'),
  range('a start and an end behind the last byte', 'bytes=300000-300001', 'unsatisfiable'),
  range('a start beyond any number', `bytes=${FAR}-`, 'unsatisfiable'),
  range('a suffix of no bytes', 'bytes=-0', 'unsatisfiable'),

  range('an end before its start', 'bytes=20-10', 'whole'),
  range('no number at all', 'bytes=-', 'whole'),
  range('no range', 'bytes=', 'whole'),
  range('no unit', '0-4', 'whole'),
  range('an empty unit', '=0-4', 'whole'),
  range('a unit without a range', 'bytes', 'whole'),
  range('one number', 'bytes=5', 'whole'),
  range('a sign', 'bytes=+0-4', 'whole'),
  range('a negative end', 'bytes=0--4', 'whole'),
  range('three numbers', 'bytes=0-4-9', 'whole'),
  range('hex', 'bytes=0x0-0x4', 'whole'),
  range('letters', 'bytes=a-z', 'whole'),
  range('a fraction', 'bytes=0.5-4', 'whole'),
  range('an exponent', 'bytes=0-1e3', 'whole'),
  range('blanks within the range', 'bytes=0 - 4', 'whole'),
  range('blanks before the equals sign', 'bytes =0-4', 'whole'),
  range('a colon for the equals sign', 'bytes:0-4', 'whole'),
  range('a semicolon behind the range', 'bytes=0-4;q=1', 'whole'),
  range('quotes', '"bytes=0-4"', 'whole'),
  range('a Content-Range', 'bytes 0-4/200000', 'whole'),
  range('an asterisk', 'bytes=*', 'whole'),
  range('digits that are not ASCII', 'bytes=\u00b2-\u00b3', 'whole'),
  range('two ranges', 'bytes=0-4,10-14', 'whole'),
  range('two ranges that overlap', 'bytes=0-9,5-14', 'whole'),
  range('a range and one that is unsatisfiable', 'bytes=0-4,900000-', 'whole'),
  range('more ranges than anybody needs', `bytes=${'0-,'.repeat(1000)}0-`, 'whole'),
  range('an empty list element', 'bytes=0-4,', 'whole'),
  range('the header twice', ['bytes=0-4', 'bytes=10-14'], 'whole'),
  range('another unit', 'items=0-4', 'whole'),
  range('another unit that begins like ours', 'bytesx=0-4', 'whole'),
  range('the unit "none"', 'none=0-4', 'whole'),

  ifRange('our validator', 'ETAG', [10, 19]),
  ifRange('our validator, and an open range', 'ETAG', [100, LAST], 'bytes=100-'),
  ifRange('our validator, and a suffix', 'ETAG', [LAST - 9, LAST], 'bytes=-10'),
  ifRange('our validator, and no such byte', 'ETAG', 'unsatisfiable', 'bytes=200000-'),
  ifRange('our validator, and a malformed range', 'ETAG', 'whole', 'bytes=x'),
  ifRange('our validator, and another unit', 'ETAG', 'whole', 'items=0-4'),
  ifRange('our validator, but weak', 'W/ETAG', 'whole'),
  ifRange('our validator without quotes', 'sha256:0', 'whole'),
  ifRange('our validator twice', 'ETAG, ETAG', 'whole'),
  ifRange('an asterisk, which If-Range does not know', '*', 'whole'),
  ifRange('another validator', OTHER, 'whole'),
  ifRange('another validator, and no such byte', OTHER, 'whole', 'bytes=200000-'),
  ifRange('another weak validator', `W/${OTHER}`, 'whole'),
  ifRange('a date, of which we have none', DATE, 'whole'),
  ifRange('a date, and no such byte', DATE, 'whole', 'bytes=200000-'),
  ifRange('something that is neither', 'yesterday', 'whole'),
  { why: 'If-Range without a range', headers: { 'if-range': OTHER }, expected: 'whole' },

  ifNoneMatch('our validator', 'ETAG', 'not modified'),
  ifNoneMatch('our validator, weak: compared weakly', 'W/ETAG', 'not modified'),
  ifNoneMatch('our validator first in a list', `ETAG, ${OTHER}`, 'not modified'),
  ifNoneMatch('our validator last in a list', `${OTHER},"x" ,\tW/ETAG`, 'not modified'),
  ifNoneMatch('our validator between empty list elements', ', ,ETAG,', 'not modified'),
  ifNoneMatch('our validator in the second of two headers', [OTHER, 'ETAG'], 'not modified'),
  ifNoneMatch('an asterisk', '*', 'not modified'),
  ifNoneMatch('an asterisk among blanks', ' \t* ', 'not modified'),
  ifNoneMatch('another validator', OTHER, 'whole'),
  ifNoneMatch('a list of others', `${OTHER}, W/"x", "y"`, 'whole'),
  ifNoneMatch('our validator without quotes', 'sha256:0', 'whole'),
  ifNoneMatch('our validator, weak in lower case, which is no such thing', 'w/ETAG', 'whole'),
  ifNoneMatch('an asterisk in quotes', '"*"', 'whole'),
  ifNoneMatch('nothing', '', 'whole'),
  ifNoneMatch('a date', DATE, 'whole'),

  {
    why: 'our validator in If-None-Match, which comes before the range',
    headers: { 'if-none-match': 'ETAG', range: 'bytes=0-4' },
    expected: 'not modified',
  },
  {
    why: 'our validator in If-None-Match, which comes before a range that does not exist',
    headers: { 'if-none-match': 'ETAG', range: 'bytes=200000-' },
    expected: 'not modified',
  },
  {
    why: 'an asterisk in If-None-Match, which comes before the range',
    headers: { 'if-none-match': '*', range: 'bytes=0-4' },
    expected: 'not modified',
  },
  {
    why: 'another validator in If-None-Match, which lets the range be',
    headers: { 'if-none-match': OTHER, range: 'bytes=0-4' },
    expected: [0, 4],
  },
  {
    why: 'another validator in If-None-Match, and no such byte',
    headers: { 'if-none-match': OTHER, range: 'bytes=200000-' },
    expected: 'unsatisfiable',
  },
  {
    why: 'our validator in If-None-Match and in If-Range',
    headers: { 'if-none-match': 'ETAG', 'if-range': 'ETAG', range: 'bytes=0-4' },
    expected: 'not modified',
  },
  {
    why: 'another validator in If-None-Match, ours in If-Range',
    headers: { 'if-none-match': OTHER, 'if-range': 'ETAG', range: 'bytes=0-4' },
    expected: [0, 4],
  },
  {
    why: 'another validator in both',
    headers: { 'if-none-match': OTHER, 'if-range': OTHER, range: 'bytes=0-4' },
    expected: 'whole',
  },
  {
    why: 'dates, which say nothing of what has no Last-Modified',
    headers: { 'if-modified-since': DATE, 'if-unmodified-since': DATE },
    expected: 'whole',
  },
  {
    why: 'dates, which do not touch a range',
    headers: { 'if-modified-since': DATE, 'if-unmodified-since': DATE, range: 'bytes=0-4' },
    expected: [0, 4],
  },
  {
    why: 'If-Match, which is for origins to judge (section 13.1.1)',
    headers: { 'if-match': OTHER, range: 'bytes=0-4' },
    expected: [0, 4],
  },
  {
    why: 'no-cache, which cannot make immutable bytes newer',
    headers: { 'cache-control': 'no-cache', pragma: 'no-cache', range: 'bytes=0-4' },
    expected: [0, 4],
  },

  { why: 'HEAD', method: 'HEAD', headers: {}, expected: 'whole' },
  { why: 'HEAD, which has no ranges', method: 'HEAD', headers: { range: 'bytes=0-4' }, expected: 'whole' },
  { why: 'HEAD with an unsatisfiable range', method: 'HEAD', headers: { range: 'bytes=200000-' }, expected: 'whole' },
  { why: 'HEAD with a malformed range', method: 'HEAD', headers: { range: 'bytes=x' }, expected: 'whole' },
  {
    why: 'HEAD with If-Range',
    method: 'HEAD',
    headers: { range: 'bytes=0-4', 'if-range': 'ETAG' },
    expected: 'whole',
  },
  {
    why: 'HEAD with our validator in If-None-Match',
    method: 'HEAD',
    headers: { 'if-none-match': 'W/ETAG', range: 'bytes=0-4' },
    expected: 'not modified',
  },
  {
    why: 'HEAD with an asterisk in If-None-Match',
    method: 'HEAD',
    headers: { 'if-none-match': '*' },
    expected: 'not modified',
  },
  {
    why: 'HEAD with another validator in If-None-Match',
    method: 'HEAD',
    headers: { 'if-none-match': OTHER, range: 'bytes=0-4' },
    expected: 'whole',
  },
];
