import { expect } from 'chai';
import fc from 'fast-check';
import { InvalidArgumentError, RepositoryUnknownError } from '../../../src/domain/errors.ts';
import {
  DEFAULT_REPOSITORY,
  joinPath,
  parseImageVersion,
  parseRepository,
  parseRepositoryName,
  parseRepositoryPath,
  registryHost,
  registryKey,
  repositoryIn,
} from '../../../src/domain/reference.ts';
import { expectLinear, nearMiss, outcome } from '../../support/hostile-text.ts';

/** distribution-spec: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, made piece by piece. */
const word = fc.stringMatching(/^[a-z0-9]{1,4}$/);
const separator = fc.constantFrom('.', '_', '__', '-', '--', '-----');
const component = fc
  .tuple(word, fc.array(fc.tuple(separator, word), { maxLength: 3 }))
  .map(([first, rest]) => first + rest.flat().join(''));
const path = fc.array(component, { minLength: 1, maxLength: 5 }).map((components) => components.join('/'));
const host = fc
  .tuple(
    fc.oneof(
      fc.domain(),
      fc.ipV4(),
      fc.ipV6().map((address) => `[${address}]`),
      fc.constantFrom('localhost', 'Registry.EXAMPLE', '0', '[::1]'),
    ),
    fc.option(fc.integer({ min: 1, max: 65_535 })),
  )
  .map(([name, port]) => (port === null ? name : `${name}:${String(port)}`));
const repository = fc.tuple(host, fc.option(path)).map(([name, below]) => (below === null ? name : `${name}/${below}`));

const PATH_PIECES = [
  'a',
  '0',
  '.',
  '_',
  '__',
  '-',
  '--',
  '/',
  '..',
  'A',
  '%2f',
  ' ',
  '\n',
  '\0',
  '\\',
  '?',
  '#',
  'ä',
  '٠',
];
const PIECES = [...PATH_PIECES, ':', ':5000', ':65536', '[', ']', '::', '@', '//', 'https://', '%', ';'];

/** The grammar again, without a regular expression of the whole. */
function isPath(text: string): boolean {
  const isComponent = (name: string): boolean => {
    const between = name.split(/[a-z0-9]+/);
    const isSeparator = (found: string): boolean => ['.', '_', '__'].includes(found) || /^-+$/.test(found);
    return (
      between.length > 1 && between.at(0) === '' && between.at(-1) === '' && between.slice(1, -1).every(isSeparator)
    );
  };
  return text.length <= 255 && text.split('/').every(isComponent);
}

const parsePath = (text: string) => outcome(() => parseRepositoryPath(text), InvalidArgumentError);
const parse = (text: string) => outcome(() => parseRepository(text), InvalidArgumentError);
const parseName = (text: string) => outcome(() => parseRepositoryName(text), InvalidArgumentError);

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

  it('accepts texts of the grammar in the specification, and no similar texts', () => {
    fc.assert(
      fc.property(fc.oneof(path, nearMiss(path, PATH_PIECES), fc.string({ unit: 'binary' })), (text) => {
        expect(parsePath(text)).to.equal(isPath(text) ? text : undefined);
      }),
    );
  });

  it('reads 64 KiB of any text in linear time', () => {
    expectLinear(PATH_PIECES, parsePath);
  });
});

describe('parseRepository', () => {
  const good: [text: string, host: string, path: string | undefined][] = [
    ['registry.example', 'registry.example', undefined],
    ['Registry.Example:5000/a', 'registry.example:5000', 'a'],
    ['192.0.2.1:5000/a/b', '192.0.2.1:5000', 'a/b'],
    ['[2001:db8::1]:5000/a', '[2001:db8::1]:5000', 'a'],
    ['localhost/a', 'localhost', 'a'],
    ['[2001:DB8:0:0::1]:05000/a', '[2001:db8::1]:5000', 'a'],
    ['registry.example:443/a', 'registry.example:443', 'a'],
    ['Bücher.example/a', 'xn--bcher-kva.example', 'a'],
    ['a_b:5000/c', 'a_b:5000', 'c'],
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
    '_a/c',
    'a.example:0',
    '192.0.2.999/a',
    'a%2eb/c',
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

  it('names the parameter of an invalid path', () => {
    const message = 'repository must be host[:port][/path], its path lower-case name components joined by "/"';
    expect(() => parseRepository('registry.example/UPPER')).to.throw(InvalidArgumentError, message);
  });

  it('reads back what it is made of', () => {
    fc.assert(
      fc.property(host, fc.option(path), (name, below) => {
        const text = below === null ? name : `${name}/${below}`;
        fc.pre(text.length <= 255);
        const { hostname } = new URL(`https://${name}`);
        const port = /:([0-9]+)$/.exec(name.replace(/^\[.*\]/, ''))?.[0] ?? '';
        expect(parse(text)).to.deep.equal({ host: `${hostname}${port}`, path: below ?? undefined });
      }),
    );
  });

  it('accepts nothing that a URL would read as another path, user, query or fragment', () => {
    fc.assert(
      fc.property(fc.oneof(repository, nearMiss(repository, PIECES), fc.string({ unit: 'binary' })), (text) => {
        const parsed = parse(text);
        if (parsed === undefined) return;
        const below = parsed.path === undefined ? '/v2/' : `/v2/${parsed.path}/`;
        const url = URL.parse(`https://${parsed.host}${below}manifests/x`);
        expect(url).not.to.equal(null);
        if (url === null) return;
        expect([url.pathname, url.username, url.password, url.search, url.hash]).to.deep.equal([
          `${below}manifests/x`,
          '',
          '',
          '',
          '',
        ]);
      }),
    );
  });

  it('reads 64 KiB of any text in linear time', () => {
    expectLinear(PIECES, parse);
  });
});

describe('parseRepositoryName', () => {
  it('keeps a name unchanged, except for one trailing slash', () => {
    expect(parseRepositoryName('Registry.example/a/')).to.equal('Registry.example/a');
    expect(() => parseRepositoryName('registry.example/a//')).to.throw(InvalidArgumentError);
  });
  it('treats the empty name as the default registry', () => {
    expect(parseRepositoryName('')).to.equal(DEFAULT_REPOSITORY);
  });

  it('returns its input for any valid name', () => {
    fc.assert(
      fc.property(fc.oneof(repository, nearMiss(repository, PIECES), fc.string({ unit: 'binary' })), (text) => {
        const name = parseName(text);
        if (name === undefined) return;
        expect([name, `${name}/`]).to.include(text);
        expect(parseName(name)).to.equal(name);
      }),
    );
  });
});

describe('joinPath', () => {
  it('joins non-empty parts by one slash', () => {
    const [a, b] = [parseRepositoryPath('a'), parseRepositoryPath('b/c')];
    expect(joinPath(a, b)).to.equal('a/b/c');
    expect(joinPath(undefined, b)).to.equal('b/c');
  });

  it('reports that two valid names are too long together', () => {
    const [base, below] = [parseRepositoryPath('a'.repeat(127)), parseRepositoryPath('b'.repeat(128))];
    expect(() => joinPath(base, below))
      .to.throw(RepositoryUnknownError, 'path is too long below this repository')
      .with.property('code', 'NAME_UNKNOWN');
    expect(joinPath(base, parseRepositoryPath('b'.repeat(127)))).to.have.lengthOf(255);
  });

  it('appends whole components, or rejects if the name becomes too long', () => {
    fc.assert(
      fc.property(fc.array(path, { minLength: 1, maxLength: 12 }), path, (above, below) => {
        const base = parsePath(above.join('/'));
        fc.pre(base !== undefined);
        const joined = outcome(() => joinPath(base, parseRepositoryPath(below)), RepositoryUnknownError);
        const expected = `${above.join('/')}/${below}`;
        expect(joined).to.equal(expected.length <= 255 ? expected : undefined);
      }),
    );
  });
});

describe('registryHost', () => {
  const cases: [host: string, scheme: 'http' | 'https', expected: string][] = [
    ['registry.example:443', 'https', 'registry.example'],
    ['registry.example:443', 'http', 'registry.example:443'],
    ['registry.example:80', 'http', 'registry.example'],
    ['registry.example:80', 'https', 'registry.example:80'],
    ['[2001:db8::1]:443', 'https', '[2001:db8::1]'],
    ['docker.io', 'https', 'index.docker.io'],
    ['docker.io:443', 'https', 'index.docker.io'],
    ['index.docker.io', 'https', 'index.docker.io'],
    ['registry-1.docker.io', 'https', 'registry-1.docker.io'],
    ['docker.io.example', 'https', 'docker.io.example'],
  ];
  for (const [host, scheme, expected] of cases) {
    it(`asks ${host} by ${scheme} at ${expected}`, () => {
      expect(registryHost(host, scheme)).to.equal(expected);
    });
  }
});

describe('registryKey', () => {
  it('is one for the names of Docker Hub, and one for each other registry', () => {
    const keyOf = (host: string): string => registryKey(host, 'https');
    expect(['docker.io', 'index.docker.io', 'registry-1.docker.io', 'docker.io:443'].map(keyOf)).to.deep.equal(
      Array.from({ length: 4 }, () => 'index.docker.io'),
    );
    for (const other of ['hub.docker.io', 'docker.io:5000', 'docker.io.example', 'mydocker.io']) {
      expect(keyOf(other)).to.equal(other);
    }
  });
});

describe('repositoryIn', () => {
  const cases: [host: string, path: string, expected: string][] = [
    ['index.docker.io', 'alpine', 'library/alpine'],
    ['registry-1.docker.io', 'alpine', 'library/alpine'],
    ['index.docker.io', 'library/alpine', 'library/alpine'],
    ['index.docker.io', 'deckhouse/ee', 'deckhouse/ee'],
    ['registry.example', 'alpine', 'alpine'],
  ];
  for (const [host, path, expected] of cases) {
    it(`finds ${path} of ${host} at ${expected}`, () => {
      expect(repositoryIn(host, parseRepositoryPath(path))).to.equal(expected);
    });
  }
});

describe('parseImageVersion', () => {
  it('distinguishes tags, digests and other texts', () => {
    const digest = `sha256:${'a'.repeat(64)}`;
    expect(parseImageVersion(digest)).to.deep.equal({ digest });
    expect(parseImageVersion('V1.0_b-c')).to.deep.equal({ tag: 'V1.0_b-c' });
    for (const text of ['', '.a', '-a', 'a b', 'sha256:a', 'ä']) expect(parseImageVersion(text)).to.equal(undefined);
  });
});
