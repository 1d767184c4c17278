import { expect } from 'chai';
import fc from 'fast-check';
import { parseChallenges, rankChallenges } from '../../../../../src/adapters/registry/auth/challenge.ts';
import { expectLinear, nearMiss } from '../../../../support/hostile-text.ts';

const read = (header: string) =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

const PIECES = [
  ...[
    'Bearer ',
    'Basic',
    'Negotiate YQ==',
    'realm=',
    'realm="',
    '"',
    '\\',
    '\\"',
    '=',
    '==',
    ',',
    ', ',
    ' ',
    '\t',
    'a',
    ';',
  ],
  ...['a=b', 'a="b"', '__proto__=', '\r\n', 'ä', '\0'],
];
const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,6}$/);
const space = fc.constantFrom('', ' ', '\t', ' \t ');
const quoted = fc
  .string({ unit: 'grapheme-ascii' })
  .map((value) => ({ header: `"${value.replace(/["\\]/g, '\\$&')}"`, value }));
/** RFC 9110 section 11.2, in all its ways to write the same. */
const parameter = fc
  .tuple(
    token,
    space,
    space,
    fc.oneof(
      quoted,
      token.map((value) => ({ header: value, value })),
    ),
  )
  .map(([name, before, after, { header, value }]) => ({
    header: `${name}${before}=${after}${header}`,
    expected: [name.toLowerCase(), value] as const,
  }));
const comma = fc.constantFrom(',', ', ', ' ,\t', ',,', ', , ');
const challenge = fc
  .tuple(
    token,
    fc.array(fc.tuple(parameter, comma), { maxLength: 4 }),
    fc.constantFrom('', ' YQ', ' YII/+a.==', ' a~_-='),
    comma,
  )
  .map(([scheme, parameters, token68, end]) => {
    const list = parameters.flatMap(([{ header }, separator], index) => (index === 0 ? [header] : [separator, header]));
    return {
      header: `${scheme}${parameters.length > 0 ? ` ${list.join('')}` : token68}${end}`,
      expected: [scheme.toLowerCase(), Object.fromEntries(parameters.map(([{ expected }]) => expected))],
    };
  });
const challenges = fc.array(challenge, { maxLength: 4 });

describe('parseChallenges', () => {
  const cases: [header: string, expected: [string, Record<string, string>][]][] = [
    ['', []],
    ['Basic', [['basic', {}]]],
    ['BASIC Realm="a registry"', [['basic', { realm: 'a registry' }]]],
    [
      'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push"',
      [
        [
          'bearer',
          { realm: 'https://auth.example/token', service: 'registry.example', scope: 'repository:a/b:pull,push' },
        ],
      ],
    ],
    [
      'Bearer realm=https://auth.example/token , service = x',
      [['bearer', { realm: 'https://auth.example/token', service: 'x' }]],
    ],
    [
      'Basic realm="say \\"hi\\", please", charset="UTF-8"',
      [['basic', { realm: 'say "hi", please', charset: 'UTF-8' }]],
    ],
    [
      'Negotiate, Basic realm="a", Bearer realm="b",error="invalid_token"',
      [
        ['negotiate', {}],
        ['basic', { realm: 'a' }],
        ['bearer', { realm: 'b', error: 'invalid_token' }],
      ],
    ],
    [
      'Negotiate YIIJvwYGKwYBBQUCoIIJszCCCa+g==, Basic realm="a"',
      [
        ['negotiate', {}],
        ['basic', { realm: 'a' }],
      ],
    ],
    [
      'Basic realm="a", Negotiate  YQ==',
      [
        ['basic', { realm: 'a' }],
        ['negotiate', {}],
      ],
    ],
    [
      'Basic realm="a", Bearer"b="',
      [
        ['basic', { realm: 'a' }],
        ['bearer', {}],
      ],
    ],
    [', ,Basic realm="a",,', [['basic', { realm: 'a' }]]],
    ['Bearer realm="cut', [['bearer', {}]]],
    ['=nonsense', []],
  ];
  for (const [header, expected] of cases) {
    it(`reads [${header}]`, () => {
      expect(read(header)).to.deep.equal(expected);
    });
  }

  it('reads back what RFC 9110 lets a server write', () => {
    fc.assert(
      fc.property(challenges, (list) => {
        expect(read(list.map(({ header }) => header).join(''))).to.deep.equal(list.map(({ expected }) => expected));
      }),
    );
  });

  it('ends in tokens and their texts, for any input', () => {
    const near = nearMiss(
      challenges.map((list) => list.map(({ header }) => header).join('')),
      PIECES,
    );
    fc.assert(
      fc.property(fc.oneof(near, fc.string({ unit: 'binary' })), (header) => {
        for (const { scheme, parameters } of parseChallenges(header)) {
          expect(scheme).to.match(/^[!#$%&'*+.^_`|~0-9a-z-]+$/);
          for (const [name, value] of parameters) {
            expect(name).to.match(/^[!#$%&'*+.^_`|~0-9a-z-]+$/);
            expect(header.replaceAll('\\', '')).to.include(value.replaceAll('\\', ''));
          }
        }
      }),
    );
  });

  it('reads 64 KiB of anything in linear time', () => {
    expectLinear(PIECES, parseChallenges);
  });
});

describe('rankChallenges', () => {
  it('puts Bearer before Basic, and leaves out what cannot be answered', () => {
    const rank = (header: string) => rankChallenges(parseChallenges(header)).map(({ scheme }) => scheme);
    expect(rank('Basic realm="a", Bearer realm="b"')).to.deep.equal(['bearer', 'basic']);
    expect(rank('Bearer realm="a", Basic, Bearer realm="b"')).to.deep.equal(['bearer', 'bearer', 'basic']);
    expect(rank('Bearer, Basic realm="a"')).to.deep.equal(['basic']);
    expect(rank('Negotiate')).to.deep.equal([]);
  });
});
