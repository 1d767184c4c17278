import { expect } from 'chai';
import { mirrorsSchema } from '../../../../src/adapters/sources/mirrors-schema.ts';

const RIGHT = { of: 'registry.example.com', endpoint: 'https://mirror.example' };
const ACCOUNT = { usernameFile: '/u', passwordFile: '/p' };

describe('registry.mirrors', () => {
  const parse = (fields: object) => mirrorsSchema.safeParse([{ ...RIGHT, ...fields }]);

  const refused: readonly (readonly [object, string, string])[] = [
    [{ of: 'https://registry.example.com' }, 'of', 'must be the host[:port] of a registry'],
    [{ endpoint: 'mirror.example' }, 'endpoint', 'must be http'],
    [{ usernameFile: '/u' }, 'passwordFile', 'go together'],
    [{ passwordFile: '/p' }, 'usernameFile', 'go together'],
    [{ ...ACCOUNT, tokenFile: '/t' }, 'tokenFile', 'takes an account or a token'],
    [{ endpoint: 'http://mirror.example', tokenFile: '/t' }, 'tokenFile', 'needs an endpoint with https://'],
    [{ endpoint: 'http://127.0.0.1.example:5000', tokenFile: '/t' }, 'tokenFile', 'needs an endpoint with https://'],
    [{ ca: 'nonsense' }, 'ca', 'no PEM certificate'],
  ];
  for (const [fields, name, why] of refused) {
    it(`refuse ${JSON.stringify(fields)}`, () => {
      const issues = parse(fields).error?.issues ?? [];
      expect(issues.map(({ path }) => path.join('.'))).to.deep.equal([`0.${name}`]);
      expect(issues[0]?.message).to.include(why);
    });
  }

  it('accept a mirror with an account, with a token, or with neither', () => {
    const filesOf = (fields: object): object | undefined => parse(fields).data?.[0]?.files;
    expect(filesOf(ACCOUNT)).to.deep.equal({ username: '/u', password: '/p' });
    expect(filesOf({ tokenFile: '/t' })).to.deep.equal({ token: '/t' });
    for (const host of ['127.0.0.1:5000', '[::1]:5000', 'localhost'])
      expect(filesOf({ tokenFile: '/t', endpoint: `http://${host}` })).to.deep.equal({ token: '/t' });
    expect(parse({}).success).to.equal(true);
    expect(filesOf({})).to.equal(undefined);
  });
});
