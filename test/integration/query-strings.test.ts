import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { parsePackageQuery } from '../../src/adapters/http/package/package-query.ts';
import type { PackageRequest } from '../../src/domain/reference.ts';
import { describeWith } from '../support/peers/binaries.ts';
import { QUERY_DIGEST, QUERY_STRINGS } from '../support/query-strings.ts';
import { Dice } from '../support/dice.ts';

interface GoReading {
  readonly values: Readonly<Record<string, readonly string[]>>;
  readonly error?: string;
}

/** The pieces of a query, with those that parsers read differently. */
const PIECES = [
  ...[
    'digest',
    'repository',
    'path',
    'foo',
    QUERY_DIGEST,
    'sha256',
    'a.example',
    'c',
    '/',
    ':',
    '..',
    '.',
    '@',
    '[',
    ']',
  ],
  ...[
    '=',
    '=',
    '=',
    '&',
    '&',
    '&',
    ';',
    '?',
    '+',
    ',',
    '%',
    '%2',
    '%25',
    '%26',
    '%3D',
    '%3B',
    '%2F',
    '%3a',
    '%00',
    '%0a',
  ],
  ...[
    '%zz',
    '%u0041',
    '%c3%a9',
    '%c0%af',
    '%ff',
    '%64',
    '%70ath',
    '%20',
    '"',
    "'",
    '\\',
    '|',
    '`',
    '^',
    '{',
    '}',
    '~',
    '!',
  ],
];
const QUERIES = 20_000;

function ourReading(query: string): PackageRequest | undefined {
  try {
    return parsePackageQuery(query);
  } catch {
    return undefined;
  }
}

describeWith('parse-query', (program) => {
  describe('parsePackageQuery and Go, the language of the sidecar,', () => {
    const askGo = (queries: readonly string[]): GoReading[] => {
      const output = execFileSync(program, { input: JSON.stringify(queries), maxBuffer: 256 * 1024 * 1024 });
      return JSON.parse(output.toString()) as GoReading[];
    };

    /** A query that both parsers accept has one reading; counts such queries. */
    function compare(queries: readonly string[], which: string): number {
      const readings = askGo(queries);
      let both = 0;
      queries.forEach((query, index) => {
        const ours = ourReading(query);
        if (ours === undefined) return;
        both++;
        const { values = {}, error } = readings[index] ?? {};
        expect(error, `${which}: ${query}`).to.equal(undefined);
        const slashless = (name = ''): string => (name.endsWith('/') ? name.slice(0, -1) : name);
        expect(values['digest'], `${which}: ${query}`).to.deep.equal([ours.digest]);
        expect((values['repository'] ?? ['']).map(slashless), `${which}: ${query}`).to.deep.equal([ours.repository]);
        expect(values['path'] ?? [''], `${which}: ${query}`).to.deep.equal([ours.path ?? '']);
      });
      return both;
    }

    it('read all queries of the table with the same result, or refuse them', () => {
      const both = compare(
        QUERY_STRINGS.map(({ query }) => query),
        'table',
      );
      expect(both).to.equal(QUERY_STRINGS.filter(({ read }) => read !== 'refused').length);
    });

    it(`read ${String(QUERIES)} random queries with the same result, or refuse them`, () => {
      const dice = Dice.ofEnvironment();
      const queries = Array.from({ length: QUERIES }, () => {
        const pieces = Array.from({ length: dice.below(8) }, () => dice.pick(PIECES)).join('');
        return dice.below(4) === 0 ? pieces : `digest=${QUERY_DIGEST}&${pieces}`;
      });
      expect(compare(queries, `SEED=${String(dice.seed)}`)).to.be.greaterThan(QUERIES / 20);
    });
  });
});
