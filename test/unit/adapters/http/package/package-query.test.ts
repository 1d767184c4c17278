import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'chai';
import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parsePackageQuery } from '../../../../../src/adapters/http/package/package-query.ts';
import { InvalidArgumentError } from '../../../../../src/domain/errors.ts';
import { nearMiss, outcome } from '../../../../support/hostile-text.ts';
import { parseOpenApi } from '../../../../support/openapi.ts';
import { QUERY_DIGEST, QUERY_STRINGS } from '../../../../support/query-strings.ts';

const OPENAPI = join(import.meta.dirname, '../../../../../docs/openapi.yaml');
/** Pieces of names and digests, and of other text. */
const PIECES = [
  'a',
  'A',
  '0',
  '.',
  '..',
  '-',
  '_',
  '__',
  '/',
  '//',
  ':',
  ':5000',
  ':65536',
  '[',
  ']',
  '@',
  ' ',
  '\n',
  'ä',
];
const ODD = ['[::1]', '[.]', '[..]', '[]', 'a.-b', 'a-.b', 'a:', 'a:00080', 'a:65535', 'a/', 'a//', '/', 'a/b/', 'a.'];
const HEX = '4f'.repeat(32);
const DIGEST = `sha256:${HEX}`;

describe('parsePackageQuery', () => {
  it('reads a digest alone, for the default registry', () => {
    expect(parsePackageQuery(`digest=${DIGEST}`)).to.deep.equal({ digest: DIGEST, repository: '', path: undefined });
  });

  it('reads queries of real clients: escapes, empty parameters, unknown parameters', () => {
    const query = `digest=sha256%3A${HEX}&repository=registry.example%2Fmodules%2F&path=ingress/nginx&foo=%20&foo=2&`;
    expect(parsePackageQuery(query)).to.deep.equal({
      digest: DIGEST,
      repository: 'registry.example/modules',
      path: 'ingress/nginx',
    });
    expect(parsePackageQuery(`digest=${DIGEST}&repository=&path=`).path).to.equal(undefined);
  });

  const refused: [query: string, code: string, why: string][] = [
    ['', 'DIGEST_INVALID', 'missing required query parameter "digest"'],
    ['digest=', 'DIGEST_INVALID', 'missing required query parameter "digest"'],
    ['digest=latest', 'DIGEST_INVALID', 'a tag'],
    ['digest=sha256:XYZ', 'DIGEST_INVALID', 'not hex'],
    [`digest=sha256:${HEX.toUpperCase()}`, 'DIGEST_INVALID', 'upper case'],
    [`digest=sha256:${HEX}0`, 'DIGEST_INVALID', 'too long'],
    [`digest=sha512:${HEX}`, 'DIGEST_INVALID', 'another algorithm'],
    [`digest=${DIGEST}%0d%0aX-Evil:1`, 'DIGEST_INVALID', 'CR LF'],
    [`digest=${DIGEST}%00`, 'DIGEST_INVALID', 'NUL'],
    [`digest=+${DIGEST}`, 'DIGEST_INVALID', 'a space'],
    [`digest=${DIGEST}&digest=${DIGEST}`, 'QUERY_INVALID', 'repeated digest'],
    [`digest=${DIGEST}&%64igest=${DIGEST}`, 'QUERY_INVALID', 'repeated digest, once escaped'],
    [`digest=${DIGEST}&path=a&path=a`, 'QUERY_INVALID', 'repeated path'],
    [`digest=${DIGEST}&repository=a&repository=`, 'QUERY_INVALID', 'repeated repository'],
    [`digest=${DIGEST};path=a`, 'QUERY_INVALID', 'a semicolon'],
    [`digest=${DIGEST}&foo=%zz`, 'QUERY_INVALID', 'a bad escape, even elsewhere'],
    [`digest=${DIGEST}&foo=%`, 'QUERY_INVALID', 'a cut escape'],
    [`digest=${DIGEST}&foo=%c3%28`, 'QUERY_INVALID', 'bytes that are not UTF-8'],
    [`digest=${DIGEST}&foo=${'a'.repeat(2048)}`, 'QUERY_INVALID', 'longer than 2 KiB'],
    [`digest=${DIGEST}&path=../x`, 'NAME_INVALID', 'a path upwards'],
    [`digest=${DIGEST}&path=/x`, 'NAME_INVALID', 'an absolute path'],
    [`digest=${DIGEST}&path=a//b`, 'NAME_INVALID', 'an empty component'],
    [`digest=${DIGEST}&path=A`, 'NAME_INVALID', 'upper case in a path'],
    [`digest=${DIGEST}&path=a%3Fb`, 'NAME_INVALID', 'a query in a path'],
    [`digest=${DIGEST}&repository=https://registry.example`, 'NAME_INVALID', 'a scheme'],
    [`digest=${DIGEST}&repository=user@registry.example/a`, 'NAME_INVALID', 'user information'],
    [`digest=${DIGEST}&repository=registry.example/a%23b`, 'NAME_INVALID', 'a fragment'],
    [`digest=${DIGEST}&repository=registry.example//`, 'NAME_INVALID', 'two slashes'],
    [`digest=${DIGEST}&repository=/a`, 'NAME_INVALID', 'no host'],
    [`digest=${DIGEST}&repository=registry.example:99999/a`, 'NAME_INVALID', 'no such port'],
  ];
  for (const [query, code, why] of refused) {
    it(`refuses ${why}`, () => {
      expect(() => parsePackageQuery(query))
        .to.throw(InvalidArgumentError)
        .with.property('code', code);
    });
  }

  for (const { why, query, read } of QUERY_STRINGS) {
    it(`${read === 'refused' ? 'refuses' : 'reads'} ${why}, which others may read differently`, () => {
      if (read === 'refused') {
        expect(() => parsePackageQuery(query)).to.throw(InvalidArgumentError);
      } else {
        const expected = { digest: QUERY_DIGEST, repository: '', path: undefined, ...read };
        expect(parsePackageQuery(query)).to.deep.equal(expected);
      }
    });
  }

  it('accepts exactly the queries of docs/openapi.yaml, except for hosts that are invalid in a URL', () => {
    const ajv = new Ajv2020();
    const { parameters = [] } = parseOpenApi(readFileSync(OPENAPI, 'utf8')).paths['/package'] ?? {};
    for (const { name, schema } of parameters.filter((parameter) => parameter.in === 'query')) {
      const described = fc.stringMatching(new RegExp((schema as { pattern: string }).pattern, 'u'), { maxLength: 255 });
      fc.assert(
        fc.property(fc.oneof(described, nearMiss(described, PIECES), fc.constantFrom(...ODD)), (value) => {
          // A name of 255 characters may have a slash behind it.
          fc.pre(value.length <= 255);
          // No pattern says which texts are hosts to a URL: Punycode, numbers and addresses have tests of their own.
          fc.pre(name !== 'repository' || isPlainHost(value.split('/')[0] ?? ''));
          const query = new URLSearchParams({ digest: DIGEST, [name]: value }).toString();
          const request = outcome(() => parsePackageQuery(query), InvalidArgumentError);
          const isDescribed = ajv.validate(schema, value);
          if (name !== 'repository' || request !== undefined) {
            expect(request !== undefined, `${name}=${value}`).to.equal(isDescribed);
          }
        }),
      );
    }
  });

  it('never returns the input in its error', () => {
    expect(() => parsePackageQuery('digest=canary-4711'))
      .to.throw()
      .with.property('message')
      .that.not.includes('canary');
  });

  it('returns a request or its one error for any input', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 100 }), fc.boolean(), (text, prefix) => {
        try {
          parsePackageQuery(prefix ? `digest=${DIGEST}&${text}` : text);
        } catch (error) {
          expect(error).to.be.instanceOf(InvalidArgumentError);
        }
      }),
    );
  });
});

/** A host that a URL spells as it is written, with a port that there is. */
function isPlainHost(host: string): boolean {
  if (/:0+$/.test(host)) return false;
  const name = host.replace(/:\d*$/, '');
  return name === '' || URL.parse(`https://${name}`)?.host === name.toLowerCase();
}
