import { expect } from 'chai';
import fc from 'fast-check';
import { InvalidArgumentError } from '../../../src/domain/errors.ts';
import {
  DEFAULT_REPOSITORY,
  joinPath,
  parseRepository,
  parseRepositoryName,
  parseRepositoryPath,
} from '../../../src/domain/reference.ts';

describe('parseRepositoryPath', () => {
  for (const path of ['a', 'deckhouse/ee', 'a.b/c_d/e__f/g-h/i---j', '0/1', 'a'.repeat(255)]) {
    it(`takes ${path.slice(0, 40)}`, () => {
      expect(parseRepositoryPath(path)).to.equal(path);
    });
  }
  for (const path of [
    '',
    '/',
    'a/',
    '/a',
    'a//b',
    'A',
    'a..b',
    'a___b',
    '-a',
    'a-',
    '../a',
    'a/../b',
    'a%2fb',
    'a b',
    'a\n',
    'ä',
    'a'.repeat(256),
  ]) {
    it(`refuses ${JSON.stringify(path.slice(0, 40))}`, () => {
      expect(() => parseRepositoryPath(path))
        .to.throw(InvalidArgumentError)
        .with.property('code', 'NAME_INVALID');
    });
  }
  it('takes what the grammar of the specification makes', () => {
    const component = fc.stringMatching(/^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+){0,2}$/);
    fc.assert(
      fc.property(fc.array(component, { minLength: 1, maxLength: 4 }), (components) => {
        const path = components.join('/');
        fc.pre(path.length <= 255);
        expect(parseRepositoryPath(path)).to.equal(path);
      }),
    );
  });
});

describe('parseRepository', () => {
  const good: [text: string, host: string, path: string | undefined][] = [
    ['registry.example', 'registry.example', undefined],
    ['Registry.Example:5000/a', 'registry.example:5000', 'a'],
    ['192.0.2.1:5000/a/b', '192.0.2.1:5000', 'a/b'],
    ['[2001:db8::1]:5000/a', '[2001:db8::1]:5000', 'a'],
    ['localhost/a', 'localhost', 'a'],
  ];
  for (const [text, host, path] of good) {
    it(`reads ${text}`, () => {
      expect(parseRepository(text)).to.deep.equal({ host, path });
    });
  }
  const bad = [
    '',
    '/a',
    'https://a.example',
    'user@a.example/b',
    'a.example:/b',
    'a.example:65536',
    'a..b/c',
    'a.example/B',
    'a.example/b?c',
    'a_b/c',
    '-a/b',
    'a.example\\b',
    '[::1%eth0]/a',
    'a.example /b',
  ];
  for (const text of bad) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseRepository(text)).to.throw(InvalidArgumentError);
    });
  }
});

describe('parseRepositoryName', () => {
  it('keeps a name as it is written, but for one trailing slash', () => {
    expect(parseRepositoryName('Registry.example/a/')).to.equal('Registry.example/a');
    expect(() => parseRepositoryName('registry.example/a//')).to.throw(InvalidArgumentError);
  });
  it('takes the empty name for the default registry', () => {
    expect(parseRepositoryName('')).to.equal(DEFAULT_REPOSITORY);
  });
});

describe('joinPath', () => {
  it('joins what is there by one slash', () => {
    const [a, b] = [parseRepositoryPath('a'), parseRepositoryPath('b/c')];
    expect(joinPath(a, b)).to.equal('a/b/c');
    expect(joinPath(undefined, b)).to.equal('b/c');
    expect(joinPath(a, undefined)).to.equal('a');
    expect(() => joinPath(undefined, undefined)).to.throw(InvalidArgumentError);
  });
});
