import { expect } from 'chai';
import fc from 'fast-check';
import { parseToken } from '../../../../../src/adapters/registry/auth/token.ts';
import { UpstreamUnavailableError } from '../../../../../src/domain/errors.ts';
import { expectLinear, nearMiss, outcome } from '../../../../support/hostile-text.ts';

const PIECES = [
  ...[
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '"token":',
    '"access_token":',
    '"expires_in":',
    '"__proto__":',
    'null',
    'true',
  ],
  ...['0', '-1', '1e400', '9007199254740993', '"1"', 'a', '=', ' ', '\\r\\n', '\\u0000', 'ä', '\n'],
];
const text = fc.stringMatching(/^[A-Za-z0-9._~+/-]{1,20}={0,2}$/);
const lifetime = fc.oneof(fc.integer({ min: 1 }), fc.double({ min: 0.1, noNaN: true, noDefaultInfinity: true }));

const parse = (body: string) =>
  outcome(() => parseToken(Buffer.from(body), { operation: 'token', host: 'auth.example' }), UpstreamUnavailableError);

describe('parseToken', () => {
  const cases: [body: object, expected: object | undefined][] = [
    [{ token: 'a.b-c_d~e+f/g==' }, { token: 'a.b-c_d~e+f/g==', seconds: 60 }],
    [
      { access_token: 'a', expires_in: 300 },
      { token: 'a', seconds: 300 },
    ],
    [
      { token: 'a', access_token: 'b' },
      { token: 'a', seconds: 60 },
    ],
    [
      { token: '', access_token: 'b' },
      { token: 'b', seconds: 60 },
    ],
    [
      { token: null, access_token: 'b' },
      { token: 'b', seconds: 60 },
    ],
    [
      { token: 'a', expires_in: '300' },
      { token: 'a', seconds: 60 },
    ],
    [
      { token: 'a', expires_in: 0 },
      { token: 'a', seconds: 60 },
    ],
    [
      { token: 'a', expires_in: -1 },
      { token: 'a', seconds: 60 },
    ],
    [
      { token: 1, access_token: 'b' },
      { token: 'b', seconds: 60 },
    ],
    [{ token: 'a\n' }, { token: 'a', seconds: 60 }],
    [{ token: ' a\r\n' }, { token: 'a', seconds: 60 }],
    [{ token: 'a=b' }, { token: 'a=b', seconds: 60 }],
    [{ token: '{"a":!@#$%^&*}' }, { token: '{"a":!@#$%^&*}', seconds: 60 }],
    [{ token: 1 }, undefined],
    [{ token: 'a b' }, undefined],
    [{ token: 'a\u007f' }, undefined],
    [{ token: 'a\u00e4' }, undefined],
    [{ token: 'a\r\nX: y' }, undefined],
    [{ token: '\n' }, undefined],
    [['a'], undefined],
    [{}, undefined],
  ];
  for (const [body, expected] of cases) {
    it(`reads ${JSON.stringify(body)} as ${JSON.stringify(expected)}`, () => {
      expect(parse(JSON.stringify(body))).to.deep.equal(expected);
    });
  }

  it('reads JSON after a byte order mark, and with a final newline', () => {
    expect(parse('\ufeff{"token":"a"}\n')).to.deep.equal({ token: 'a', seconds: 60 });
  });

  it('reads no field of a prototype', () => {
    expect(parse('{"__proto__":{"token":"a"}}')).to.equal(undefined);
  });

  it('reads the answers of token servers', () => {
    fc.assert(
      fc.property(fc.constantFrom('token', 'access_token'), text, fc.option(lifetime), (name, token, seconds) => {
        const body = JSON.stringify({ issued_at: '2026-11-24T08:00:00Z', [name]: token, expires_in: seconds });
        expect(parse(body)).to.deep.equal({ token, seconds: seconds ?? 60 });
      }),
    );
  });

  it('returns a token that is valid in a header, or its one error, for any input', () => {
    const written = fc
      .record({ token: text, access_token: text, expires_in: lifetime }, { requiredKeys: [] })
      .map((json) => JSON.stringify(json));
    const fields = fc.record({ token: fc.jsonValue(), expires_in: fc.jsonValue() }).map((json) => JSON.stringify(json));
    fc.assert(
      fc.property(fc.oneof(nearMiss(written, PIECES), fields, fc.json(), fc.string({ unit: 'binary' })), (body) => {
        const found = parse(body);
        if (found === undefined) return;
        expect(found.token).to.match(/^[!-~]+$/);
        expect(found.seconds).to.be.greaterThan(0);
      }),
    );
  });

  it('shows no part of an answer that it cannot read', () => {
    for (const [body, what] of [
      ['canary', 'is not JSON'],
      ['{"token":"canary" "', 'is not JSON'],
      ['{"token":"canary canary"}', 'has no token'],
    ] as const) {
      expect(() => parseToken(Buffer.from(body), { operation: 'token', host: 'auth.example' }))
        .to.throw(UpstreamUnavailableError)
        .with.nested.property('cause.message', `token from auth.example: answer ${what}`);
    }
  });

  it('reads 64 KiB of any text in linear time, as it is and as a token', () => {
    expectLinear(PIECES, parse);
    expectLinear(PIECES, (token) => parse(JSON.stringify({ token })));
  });

  it('refuses 64 KiB of nested lists', () => {
    expect(parse(`{"token":${'['.repeat(32_000)}${']'.repeat(32_000)}}`)).to.equal(undefined);
  });
});
