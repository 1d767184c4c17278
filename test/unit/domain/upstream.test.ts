import { expect } from 'chai';
import { parseRepositoryPath } from '../../../src/domain/reference.ts';
import { below, InvalidUpstreamError, parseUpstream, type UpstreamFields } from '../../../src/domain/upstream.ts';
import { CA, ISSUING_CA } from '../../support/tls/certificates.ts';

describe('parseUpstream', () => {
  it('reads the fields of a ModuleSource', () => {
    const upstream = parseUpstream({ repo: 'Registry.example:5000/deckhouse/ee/', ca: `${CA}\n${ISSUING_CA}\n${CA}` });
    expect(upstream.registry).to.include({ scheme: 'https', host: 'registry.example:5000' });
    expect(upstream.registry.ca).to.have.lengthOf(2);
    expect(upstream.repository).to.equal('deckhouse/ee');
  });

  it('leaves the default port of its scheme out, as a URL does', () => {
    const hostOf = (repo: string, scheme: string): string => parseUpstream({ repo, scheme }).registry.host;
    expect(hostOf('a.example:443/b', 'HTTPS')).to.equal('a.example');
    expect(hostOf('a.example:80/b', 'HTTP')).to.equal('a.example');
    expect(hostOf('a.example:80/b', 'HTTPS')).to.equal('a.example:80');
    expect(hostOf('[2001:DB8::0:1]:443', 'HTTPS')).to.equal('[2001:db8::1]');
  });

  it('finds the credential of Docker Hub under the key of docker for each of its names', () => {
    const auths = { 'https://index.docker.io/v1/': { username: 'robot', password: 'canary' } };
    const dockerCfg = Buffer.from(JSON.stringify({ auths })).toString('base64');
    for (const repo of ['docker.io/a/b', 'index.docker.io/a/b', 'registry-1.docker.io/a/b', 'Docker.io:443/a/b']) {
      expect(parseUpstream({ repo, dockerCfg }).registry.credential, repo).to.include({ username: 'robot' });
    }
    expect(parseUpstream({ repo: 'docker.io/a/b' }).registry.host).to.equal('index.docker.io');
  });

  it('reads the scheme in either case', () => {
    expect(parseUpstream({ repo: 'a.example', scheme: 'HTTP' }).registry.scheme).to.equal('http');
    expect(parseUpstream({ repo: 'a.example', scheme: 'https' }).registry.scheme).to.equal('https');
  });

  const broken: [field: keyof UpstreamFields, fields: UpstreamFields][] = [
    ['repo', { repo: '' }],
    ['repo', { repo: 'https://a.example' }],
    ['repo', { repo: '192.0.2.999/a' }],
    ['repo', { repo: 'a.example:0/a' }],
    ['repo', { repo: 'user@a.example/a' }],
    ['scheme', { repo: 'a.example', scheme: 'ftp' }],
    ['dockerCfg', { repo: 'a.example', dockerCfg: 'nonsense!' }],
    ['ca', { repo: 'a.example', ca: 'nonsense' }],
    ['ca', { repo: 'a.example', ca: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----' }],
  ];
  for (const [field, fields] of broken) {
    it(`names the field that cannot be used: ${JSON.stringify(fields)}`, () => {
      expect(() => parseUpstream(fields))
        .to.throw(InvalidUpstreamError)
        .with.property('field', field);
    });
  }

  for (const [what, change] of [
    ['lines of Windows', (pem: string) => pem.replaceAll('\n', '\r\n')],
    ['blanks instead of line feeds', (pem: string) => pem.replaceAll('\n', ' ')],
    ['an indentation', (pem: string) => pem.replaceAll('\n', '\n    ')],
    ['"\\\\n" instead of line feeds', (pem: string) => pem.replaceAll('\n', '\\n')],
    ['no line feeds', (pem: string) => pem.replaceAll('\n', '')],
    ['text of openssl before it', (pem: string) => `subject=CN = a\nissuer=CN = b\n${pem}`],
    ['a byte order mark', (pem: string) => `\ufeff${pem}`],
  ] as const) {
    it(`reads certificates with ${what}`, () => {
      const { ca } = parseUpstream({ repo: 'a.example', ca: CA + ISSUING_CA }).registry;
      expect(parseUpstream({ repo: 'a.example', ca: change(CA + ISSUING_CA) }).registry.ca).to.deep.equal(ca);
    });
  }

  it('names the rule for the path of a repository', () => {
    for (const repo of ['a.example/B', 'a.example//b', 'a.example/b:tag'])
      expect(() => parseUpstream({ repo }), repo).to.throw(
        'repo: must be host[:port][/path], its path lower-case name components joined by "/"',
      );
  });

  it('distinguishes the path of a CA from a CA', () => {
    const complaint = (ca: string) => () => parseUpstream({ repo: 'a.example', ca });
    for (const path of ['/etc/ssl/ca', 'ca.crt', '../pki/ca.pem']) expect(complaint(path), path).to.throw('is a path');
    expect(complaint('MIIB/zCCAYWgAwIBAgIU')).to.throw('has no PEM certificate');
    expect(complaint(Buffer.from(CA).toString('base64'))).to.throw('is base64 of a PEM');
    expect(complaint(CA.replace('-----END', '----END'))).to.throw('has no PEM certificate');
    expect(complaint(CA.replace('MII', 'NII'))).to.throw('has a certificate that cannot be read');
  });
});

describe('below', () => {
  it('returns a repository below in the same registry', () => {
    const upstream = parseUpstream({ repo: 'a.example/b' });
    const deeper = below(upstream, parseRepositoryPath('c'));
    expect(deeper.repository).to.equal('b/c');
    expect(deeper.registry).to.equal(upstream.registry);
    expect(below(upstream, undefined)).to.equal(upstream);
  });

  it('adds the namespace "library" to names of one component at Docker Hub', () => {
    const found = (repo: string, path?: string): string | undefined =>
      below(parseUpstream({ repo }), path === undefined ? undefined : parseRepositoryPath(path)).repository;
    expect(found('docker.io/alpine')).to.equal('library/alpine');
    expect(found('docker.io', 'alpine')).to.equal('library/alpine');
    expect(found('registry-1.docker.io', 'alpine')).to.equal('library/alpine');
    expect(found('docker.io/deckhouse', 'ee')).to.equal('deckhouse/ee');
    expect(found('docker.io/library', 'alpine')).to.equal('library/alpine');
    expect(found('docker.io')).to.equal(undefined);
    expect(found('registry.example/alpine')).to.equal('alpine');
  });
});
