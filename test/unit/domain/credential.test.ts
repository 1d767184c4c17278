import { expect } from 'chai';
import { inspect } from 'node:util';
import { type Credential, credentialFor, InvalidCredentialError } from '../../../src/domain/credential.ts';
import { parseRepositoryPath } from '../../../src/domain/reference.ts';

const base64 = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64');
const entry = (name: string): object => ({ auth: base64(`${name}:secret`) });

function find(auths: object, host = 'registry.example:5000', path = 'deckhouse/ee'): Credential {
  return credentialFor(base64({ auths }), host, parseRepositoryPath(path));
}

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
    it(`does not take ${key || 'an empty key'} for it`, () => {
      expect(find({ [key]: entry('robot') })).to.deep.equal({ kind: 'anonymous' });
    });
  }

  it('takes the longest path that fits', () => {
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

  it('is anonymous where nothing is said', () => {
    expect(credentialFor('', 'a.example', undefined)).to.deep.equal({ kind: 'anonymous' });
    expect(credentialFor(base64({}), 'a.example', undefined)).to.deep.equal({ kind: 'anonymous' });
    expect(find({ 'registry.example:5000': {} })).to.deep.equal({ kind: 'anonymous' });
  });

  const broken: [what: string, dockerCfg: string][] = [
    ['is not base64', '{"auths":{}}'],
    ['is not JSON', base64('canary{')],
    ['is no object', base64('[]')],
    ['has no object of auths', base64({ auths: ['canary'] })],
    ['has an entry that is no object', base64({ auths: { 'registry.example:5000': 'canary' } })],
    ['has an auth that is not base64', base64({ auths: { 'registry.example:5000': { auth: '!canary' } } })],
    ['has an auth without a colon', base64({ auths: { 'registry.example:5000': { auth: base64('canary') } } })],
    ['has an auth without a name', base64({ auths: { 'registry.example:5000': { auth: base64(':canary') } } })],
  ];
  for (const [what, dockerCfg] of broken) {
    it(`says that a dockerCfg ${what}, and shows nothing of it`, () => {
      try {
        credentialFor(dockerCfg, 'registry.example:5000', undefined);
        throw new Error('no error');
      } catch (error) {
        expect(error).to.be.instanceOf(InvalidCredentialError);
        expect(inspect(error, { depth: 9 })).not.to.match(/canary{|!canary|Y2FuYXJ5/);
      }
    });
  }
});
