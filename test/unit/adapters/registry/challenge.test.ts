import { expect } from 'chai';
import fc from 'fast-check';
import { chooseChallenge, parseChallenges } from '../../../../src/adapters/registry/challenge.ts';

const read = (header: string) =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

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
    const token = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);
    const challenge = fc.record({
      scheme: token,
      parameters: fc.uniqueArray(fc.tuple(token, fc.string({ unit: 'grapheme-ascii' })), {
        minLength: 1,
        selector: ([name]) => name,
      }),
    });
    fc.assert(
      fc.property(fc.array(challenge), (challenges) => {
        const header = challenges
          .map(({ scheme, parameters }) => {
            const list = parameters.map(([name, value]) => `${name}="${value.replace(/["\\]/g, '\\$&')}"`);
            return `${scheme} ${list.join(', ')}`;
          })
          .join(', ');
        expect(read(header)).to.deep.equal(
          challenges.map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]),
        );
      }),
    );
  });

  it('ends, whatever it reads', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => Array.isArray(parseChallenges(text))));
  });
});

describe('chooseChallenge', () => {
  it('answers Bearer before Basic, and nothing else', () => {
    const choose = (header: string) => chooseChallenge(parseChallenges(header))?.scheme;
    expect(choose('Basic realm="a", Bearer realm="b"')).to.equal('bearer');
    expect(choose('Bearer, Basic realm="a"')).to.equal('basic');
    expect(choose('Negotiate')).to.equal(undefined);
  });
});
