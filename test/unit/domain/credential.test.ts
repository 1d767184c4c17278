import { expect } from 'chai';
import { inspect } from 'node:util';
import {
  ANONYMOUS,
  basic,
  type Credential,
  credentialFor,
  flawOf,
  mistakeOf,
  InvalidCredentialError,
  Secret,
  userOf,
} from '../../../src/domain/credential.ts';
import fc from 'fast-check';
import { parseRepositoryPath } from '../../../src/domain/reference.ts';
import { expectLinear, nearMiss, outcome } from '../../support/hostile-text.ts';

describe('Secret', () => {
  it('never shows its text when it is printed', () => {
    const secret = new Secret('canary');
    const prints = [
      JSON.stringify({ secret }),
      inspect({ secret }, { showHidden: true, depth: 9 }),
      String(secret),
      JSON.stringify(Object.entries(secret)),
      JSON.stringify(structuredClone(secret)),
    ];
    expect(prints.join()).not.to.include('canary');
    expect(secret.reveal()).to.equal('canary');
  });
});

const base64 = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64');
const entry = (name: string): object => ({ auth: base64(`${name}:secret`) });

/** A registry that speaks HTTPS. */
const at = (host: string) => ({ scheme: 'https' as const, host });

function find(auths: object, host = 'registry.example:5000', path = 'deckhouse/ee'): Credential {
  return credentialFor(base64({ auths }), at(host), parseRepositoryPath(path));
}

/** Comparable, with its secret. */
function revealed(credential: Credential): string[] {
  if (credential.kind === 'basic') return ['basic', credential.username, credential.password.reveal()];
  return credential.kind === 'identity' ? ['identity', credential.token.reveal()] : ['anonymous'];
}

const text = fc.string({ unit: 'grapheme', minLength: 1 });
const username = text.filter((found) => !found.includes(':'));
/** An entry of "auths", and what it stands for. */
const entries = fc.oneof(
  fc
    .tuple(username, fc.string({ unit: 'grapheme' }))
    .chain(([name, password]) =>
      fc
        .constantFrom<object>({ auth: base64(`${name}:${password}`) }, { username: name, password })
        .map((json) => ({ json, expected: ['basic', name, password] })),
    ),
  text.map((token) => ({ json: { identitytoken: token, auth: base64('a:b') }, expected: ['identity', token] })),
  fc
    .constantFrom<object | null>({}, null, { auth: '' }, { auth: 'Og==' }, { email: 'a@b.example' })
    .map((json) => ({ json, expected: ['anonymous'] })),
);
const segments = fc
  .array(fc.constantFrom('a', 'b', 'ab', 'v1'), { maxLength: 3 })
  .filter((list) => list.join() !== 'v1');
/** A registry or a part of it, in one of the ways in which docker and others write it. */
const keys = fc
  .record({
    host: fc.constantFrom('r.example', 'r.example:5000', 'R.Example', 'r.example:50'),
    segments,
    start: fc.constantFrom('', 'http://', 'https://', 'HTTPS://'),
    end: fc.constantFrom('', '/', '/v1/', '/v2'),
  })
  .map(({ host, segments: below, start, end }) => ({
    host: host.toLowerCase(),
    below,
    key: start + [host, ...below].join('/') + (below.length > 0 && end.length > 1 ? '/' : end),
  }));

const PIECES = [
  ...['{', '}', '[', ']', ',', ':', '"', '\\', '=', '/', '//', '-', '_', ' ', '\n', 'a', 'ä', 'null', '1', 'true'],
  ...['"auths":', '"auth":', '"identitytoken":', '"username":', '"password":', '"__proto__":', '"r.example":', 'e30='],
];
const COMPLAINTS = [
  'not base64',
  'not base64 of JSON',
  'base64 of UTF-16, and JSON is UTF-8',
  'encoded as base64 twice',
  '"auths" is not an object',
  'an entry of "auths" is not an object',
  '"auth" is not base64',
  '"auth" is not base64 of username:password',
];
const parse = (dockerCfg: string) =>
  outcome(() => credentialFor(dockerCfg, at('r.example'), undefined), InvalidCredentialError);

describe('credentialFor', () => {
  for (const key of [
    'registry.example:5000',
    'REGISTRY.example:5000',
    'https://registry.example:5000',
    'http://registry.example:5000/',
    'https://registry.example:5000/v1/',
    'registry.example:5000/v2',
    'registry.example:5000/deckhouse',
    'https://registry.example:5000/deckhouse/ee/',
  ]) {
    it(`finds ${key}`, () => {
      expect(find({ [key]: entry('robot') })).to.include({ kind: 'basic', username: 'robot' });
    });
  }

  for (const key of [
    'registry.example',
    'registry.example:5001',
    'example:5000',
    'evil-registry.example:5000',
    'registry.example:5000.evil',
    'registry.example:50000',
    'evil.example/registry.example:5000',
    'registry.example:5000/deck',
    'registry.example:5000/deckhouse/e',
    'registry.example:5000/deckhouse/ee/more',
    '',
  ]) {
    it(`does not match ${key || 'an empty key'}`, () => {
      expect(find({ [key]: entry('robot') })).to.deep.equal({ kind: 'anonymous', lacks: 'entry' });
    });
  }

  for (const [what, own] of [
    ['":" (Deckhouse before 1.73, for a registry without accounts)', { auth: 'Og==' }],
    ['":" and a line feed', { auth: 'Ogo=' }],
    ['empty fields', { username: '', password: '', auth: 'Og==' }],
    ['null', null],
  ] as const) {
    it(`takes an entry of ${what} for anonymous access`, () => {
      expect(find({ 'registry.example:5000': own })).to.deep.equal({ kind: 'anonymous', lacks: 'password' });
    });
  }

  const spelled: [host: string, scheme: 'http' | 'https', key: string][] = [
    ['registry.example', 'https', 'registry.example:443'],
    ['registry.example', 'https', 'https://Registry.Example:443/v2/'],
    ['registry.example', 'http', 'registry.example:80'],
    ['registry.example', 'http', 'http://registry.example'],
    ['registry.example:5000', 'https', 'registry.example:05000'],
    ['[2001:db8::1]:5000', 'https', '[2001:DB8:0:0::1]:5000'],
    ['xn--bcher-kva.example', 'https', 'bücher.example'],
    ['index.docker.io', 'https', 'https://index.docker.io/v1/'],
    ['index.docker.io', 'https', 'docker.io'],
    ['index.docker.io', 'https', 'registry-1.docker.io'],
    ['registry-1.docker.io', 'https', 'https://index.docker.io/v1/'],
  ];
  for (const [host, scheme, key] of spelled) {
    it(`finds ${key} for ${host} by ${scheme}`, () => {
      const found = credentialFor(base64({ auths: { [key]: entry('robot') } }), { scheme, host }, undefined);
      expect(found).to.include({ kind: 'basic', username: 'robot' });
    });
  }

  const others: [host: string, scheme: 'http' | 'https', key: string][] = [
    ['registry.example', 'https', 'registry.example:80'],
    ['registry.example', 'http', 'registry.example:443'],
    ['registry.example:8443', 'https', 'registry.example'],
    ['registry.example', 'https', 'user@registry.example'],
    ['registry.example', 'https', 'registry.example?a'],
    ['registry.example', 'https', 'registry.example\\@evil.example'],
    ['index.docker.io', 'https', 'hub.docker.io'],
    ['index.docker.io', 'https', 'docker.io.evil.example'],
    ['evil.example', 'https', 'https://index.docker.io/v1/'],
    ['index.docker.io:5000', 'https', 'docker.io'],
    ['index.docker.io', 'https', 'https://index.docker.io/v1/access-token'],
  ];
  for (const [host, scheme, key] of others) {
    it(`does not match ${key} for ${host} by ${scheme}`, () => {
      const found = credentialFor(base64({ auths: { [key]: entry('robot') } }), { scheme, host }, undefined);
      expect(found).to.deep.equal({ kind: 'anonymous', lacks: 'entry' });
    });
  }

  it('uses the longest matching path', () => {
    const auths = {
      'registry.example:5000/deckhouse': entry('middle'),
      'registry.example:5000': entry('short'),
      'registry.example:5000/deckhouse/ee': entry('long'),
    };
    expect(find(auths)).to.include({ username: 'long' });
    expect(find(auths, undefined, 'deckhouse/fe')).to.include({ username: 'middle' });
    expect(find(auths, undefined, 'other')).to.include({ username: 'short' });
  });

  it('reads a password with colons, and an empty one', () => {
    const read = (pair: string): string => {
      const credential = find({ 'registry.example:5000': { auth: base64(pair) } });
      return credential.kind === 'basic' ? `${credential.username}|${credential.password.reveal()}` : credential.kind;
    };
    expect(read('robot:a:b:c')).to.equal('robot|a:b:c');
    expect(read('robot:')).to.equal('robot|');
  });

  it('reads an identity token before a password, "auth" before "username"', () => {
    const both = { auth: base64('a:1'), username: 'b', password: '2' };
    expect(find({ 'registry.example:5000': both })).to.include({ username: 'a' });
    expect(find({ 'registry.example:5000': { username: 'b', password: '2' } })).to.include({ username: 'b' });
    expect(find({ 'registry.example:5000': { ...both, identitytoken: 'x' } })).to.include({ kind: 'identity' });
    expect(find({ 'registry.example:5000': { auth: base64('<token>:x') } })).to.include({ kind: 'identity' });
  });

  for (const [what, config, lacks] of [
    ['a credential store', { credsStore: 'desktop' }, 'program'],
    ['a credential store and an empty entry', { auths: { 'registry.example:5000': {} }, credsStore: 'x' }, 'program'],
    ['a helper', { auths: {}, credHelpers: { 'https://Registry.example:5000/v2/': 'ecr-login' } }, 'program'],
    ['a helper for another registry', { credHelpers: { 'other.example': 'ecr-login' } }, 'entry'],
    ['an empty credential store', { credsStore: '', credHelpers: null }, undefined],
    ['helpers that cannot be read', { credsStore: 1, credHelpers: 'ecr-login' }, undefined],
  ] as const) {
    it(`is anonymous with ${what}, and tells ${lacks === undefined ? 'no flaw' : `the missing ${lacks}`}`, () => {
      const found = credentialFor(base64(config), at('registry.example:5000'), undefined);
      expect(found).to.deep.equal({ kind: 'anonymous', ...(lacks && { lacks }) });
      expect(mistakeOf(found)).to.equal(flawOf(found));
    });
  }

  it('prefers a password in the docker config to a helper', () => {
    const auths = { 'registry.example:5000': entry('robot') };
    const config = { auths, credsStore: 'desktop', credHelpers: { 'registry.example:5000': 'ecr-login' } };
    const found = credentialFor(base64(config), at('registry.example:5000'), undefined);
    expect(found).to.include({ kind: 'basic', username: 'robot' });
  });

  it('is anonymous without an entry', () => {
    expect(credentialFor('', at('a.example'), undefined)).to.deep.equal({ kind: 'anonymous' });
    expect(credentialFor(base64({}), at('a.example'), undefined)).to.deep.equal({ kind: 'anonymous' });
    expect(find({ 'registry.example:5000': {} })).to.deep.equal({ kind: 'anonymous', lacks: 'password' });
  });

  it('reads the older form without "auths", and nothing else in its place', () => {
    const read = (config: object) => credentialFor(base64(config), at('registry.example:5000'), undefined);
    const entries = { 'other.example': entry('other'), 'https://registry.example:5000': entry('robot') };
    expect(read(entries)).to.include({ kind: 'basic', username: 'robot' });
    expect(read({ ...entries, auths: {} })).to.deep.equal({ kind: 'anonymous' });
    expect(read({ HttpHeaders: { 'registry.example:5000': 'a' }, auths: null })).to.deep.equal({ kind: 'anonymous' });
    expect(read({ 'registry.example:5000': 'canary' })).to.deep.equal({ kind: 'anonymous' });
  });

  it('takes a docker config behind a byte order mark, and tells other ways of Windows and kubectl', () => {
    const config = JSON.stringify({ auths: { 'registry.example:5000': entry('robot') } });
    const at5000 = (dockerCfg: string) => credentialFor(dockerCfg, at('registry.example:5000'), undefined);
    expect(at5000(base64(`\ufeff${config}`))).to.include({ kind: 'basic', username: 'robot' });
    const utf16 = Buffer.from(`\ufeff${config}`, 'utf16le').toString('base64');
    expect(() => at5000(utf16)).to.throw('base64 of UTF-16, and JSON is UTF-8');
    expect(() => at5000(base64(base64(config)))).to.throw('encoded as base64 twice');
  });

  const broken: [what: string, dockerCfg: string][] = [
    ['is not base64', '{"auths":{}}'],
    ['is not JSON', base64('canary{')],
    ['is no object', base64('[]')],
    ['is base64 of base64', base64(base64({ auths: { 'registry.example:5000': entry('canary') } }))],
    ['has no object of auths', base64({ auths: ['canary'] })],
    ['has an entry that is no object', base64({ auths: { 'registry.example:5000': 'canary' } })],
    ['has an auth that is not base64', base64({ auths: { 'registry.example:5000': { auth: '!canary' } } })],
    ['has an auth without a colon', base64({ auths: { 'registry.example:5000': { auth: base64('canary') } } })],
    ['has an auth without a name', base64({ auths: { 'registry.example:5000': { auth: base64(':canary') } } })],
  ];
  for (const [what, dockerCfg] of broken) {
    it(`reports that a dockerCfg ${what}, without showing it`, () => {
      try {
        credentialFor(dockerCfg, at('registry.example:5000'), undefined);
        throw new Error('no error');
      } catch (error) {
        expect(error).to.be.instanceOf(InvalidCredentialError);
        expect(inspect(error, { depth: 9 })).not.to.match(/canary{|!canary|Y2FuYXJ5/);
      }
    });
  }

  it('finds the longest matching key of a repository in any notation', () => {
    const written = fc.uniqueArray(fc.tuple(keys, entries), {
      selector: ([{ host, below }]) => [host, ...below].join('/'),
      maxLength: 8,
    });
    fc.assert(
      fc.property(written, segments, (list, wanted) => {
        const auths = Object.fromEntries(list.map(([{ key }, { json }]) => [key, json]));
        const found = credentialFor(
          base64({ auths }),
          at('r.example'),
          wanted.length === 0 ? undefined : parseRepositoryPath(wanted.join('/')),
        );
        const fits = list.filter(
          ([{ host, below }]) => host === 'r.example' && below.every((segment, index) => segment === wanted[index]),
        );
        const [best] = fits.toSorted(([one], [other]) => other.below.length - one.below.length);
        expect(revealed(found)).to.deep.equal(best?.[1].expected ?? ['anonymous']);
      }),
    );
  });

  it('returns a credential or its one error without the input, for any input', () => {
    const json = fc
      .tuple(keys, entries, fc.jsonValue())
      .map(([{ key }, entry, other]) => JSON.stringify({ auths: { [key]: entry.json, 'r.example': other } }));
    const dockerCfg = fc.oneof(
      nearMiss(json, PIECES).map(base64),
      nearMiss(json.map(base64), PIECES),
      fc.jsonValue().map((auths) => base64({ auths })),
      fc.jsonValue().map((auth) => base64({ auths: { 'r.example': auth } })),
      fc.string({ unit: 'binary' }),
    );
    fc.assert(
      fc.property(dockerCfg, (found) => {
        try {
          const credential = credentialFor(found, at('r.example'), undefined);
          expect(credential.kind).to.be.oneOf(['anonymous', 'basic', 'identity']);
        } catch (error) {
          expect(error).to.be.instanceOf(InvalidCredentialError);
          const { message, cause } = error as Error;
          expect(cause).to.equal(undefined);
          expect(message).to.be.oneOf(COMPLAINTS);
        }
      }),
    );
  });

  it('reads 64 KiB of any text in linear time, as it is and in base64', () => {
    expectLinear(PIECES, parse);
    expectLinear(PIECES, (found) => parse(base64(found)));
    expectLinear(PIECES, (found) => parse(base64({ auths: { [found]: {} } })));
    expectLinear(PIECES, (found) => parse(base64({ auths: { 'r.example': { auth: found } } })));
  });
});

describe('userOf', () => {
  for (const [password, flaw] of [
    ['canary', undefined],
    ['canary word', undefined],
    ['canary\n', 'the password ends with a line feed'],
    ['canary\r\n', 'the password ends with a line feed'],
    [' canary', 'the password begins or ends with white space'],
    ['robot:canary', 'the password begins with the name of its user and a colon'],
  ] as const) {
    it(`finds ${flaw === undefined ? 'nothing wrong with' : `that ${flaw} in`} ${JSON.stringify(password)}`, () => {
      expect(flawOf(basic('robot', password))).to.equal(flaw);
    });
  }

  it('finds white space around the name of a user', () => {
    for (const name of [' robot', 'robot\n'])
      expect(flawOf(basic(name, 'canary'))).to.equal('the name of the user begins or ends with white space');
  });

  it('reports what is missing in a docker config for its registry', () => {
    const flaw = (key: string, auth: object) => flawOf(find({ [key]: auth }));
    expect(flaw('other.example', {})).to.equal('the docker config has no entry for this registry');
    expect(flaw('registry.example:5000', {})).to.match(
      /^the docker config has no password in the entry for this registry;/,
    );
    expect(mistakeOf(find({ 'registry.example:5000': {} }))).to.equal(undefined);
  });

  it('names the user, unless the name may be the secret', () => {
    expect(userOf(basic('robot', 'a-password'))).to.equal('robot');
    const doors = ['', 'x', 'unused', 'x-oauth-basic', 'dop_v1_0123'].map((password) => basic('dop_v1_0123', password));
    const secrets = [...doors, basic('<token>', 'dop_v1_0123'), ANONYMOUS];
    expect(secrets.map(userOf)).to.deep.equal(secrets.map(() => undefined));
  });
});
