import { expect } from 'chai';
import { parseRepositoryPath } from '../../../src/domain/reference.ts';
import { below, InvalidUpstreamError, parseUpstream, type UpstreamFields } from '../../../src/domain/upstream.ts';
import { CA } from '../../support/tls/certificates.ts';

describe('parseUpstream', () => {
  it('reads the fields of a ModuleSource', () => {
    const upstream = parseUpstream({ repo: 'Registry.example:5000/deckhouse/ee/', ca: `${CA}\n${CA}` });
    expect(upstream.registry).to.include({ scheme: 'https', host: 'registry.example:5000' });
    expect(upstream.registry.ca).to.have.lengthOf(2);
    expect(upstream.repository).to.equal('deckhouse/ee');
  });

  it('reads the scheme in either case', () => {
    expect(parseUpstream({ repo: 'a.example', scheme: 'HTTP' }).registry.scheme).to.equal('http');
    expect(parseUpstream({ repo: 'a.example', scheme: 'https' }).registry.scheme).to.equal('https');
  });

  const broken: [field: keyof UpstreamFields, fields: UpstreamFields][] = [
    ['repo', { repo: '' }],
    ['repo', { repo: 'https://a.example' }],
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
});

describe('below', () => {
  it('goes down in the same registry', () => {
    const upstream = parseUpstream({ repo: 'a.example/b' });
    const deeper = below(upstream, parseRepositoryPath('c'));
    expect(deeper.repository).to.equal('b/c');
    expect(deeper.registry).to.equal(upstream.registry);
    expect(below(upstream, undefined)).to.equal(upstream);
  });
});
