import { expect } from 'chai';
import { parseRepositoryPath } from '../../../src/domain/reference.ts';
import { registryHost, registryKey, repositoryIn } from '../../../src/domain/registry-host.ts';

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
