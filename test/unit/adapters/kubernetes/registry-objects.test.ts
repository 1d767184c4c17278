import { expect } from 'chai';
import fc from 'fast-check';
import {
  parseDefaultRegistry,
  parseModuleSource,
  readSpecRegistry,
  readRegistrySecret,
} from '../../../../src/adapters/kubernetes/registry-objects.ts';
import { InvalidUpstreamError, type UpstreamFields } from '../../../../src/domain/upstream.ts';
import { expectLinear, nearMiss, outcome } from '../../../support/hostile-text.ts';
import { CA, ISSUING_CA } from '../../../support/tls/certificates.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const PIECES = [
  '/',
  '//',
  'a',
  'a.example',
  ':5000',
  ':',
  '.',
  '-',
  'A',
  ' ',
  '\n',
  '@',
  '[',
  ']',
  '\0',
  'ä',
  'https://',
];

const host = fc.constantFrom('r.example', 'R.example:5000', '192.0.2.1', '[2001:db8::1]:5000');
const segments = fc.array(fc.constantFrom('deckhouse', 'ee', 'a-b', 'a__b'), { maxLength: 3 });
const slashes = fc.constantFrom('', '/', '//', '///');
const fields = fc.record({
  scheme: fc.option(fc.constantFrom('http', 'https', 'HTTP', 'HTTPS'), { nil: undefined }),
  ca: fc.option(fc.constantFrom(CA, `${CA}\n${ISSUING_CA}\n${CA}`), { nil: undefined }),
  dockerCfg: fc.option(fc.constantFrom(base64('{}'), base64('{"auths":{"r.example":{"auth":"YTpi"}}}')), {
    nil: undefined,
  }),
});
/** The value of a field in an unchecked object. */
const anything = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom<unknown>('r.example/a', '', 1, 2 ** 53, null, [], { __proto__: null, repo: 'r.example' }),
);
const parse = (read: () => UpstreamFields) =>
  outcome(
    () => [read()].flatMap((found) => [parseModuleSource(found), parseDefaultRegistry(found)]),
    InvalidUpstreamError,
  );

describe('readSpecRegistry', () => {
  it('reads the fields of a ModuleSource', () => {
    fc.assert(
      fc.property(host, segments, fields, (name, below, rest) => {
        const registry = { repo: [name, ...below].join('/'), ...rest };
        expect(readSpecRegistry({ spec: { registry, releaseChannel: 'Stable' } })).to.deep.equal(registry);
        const { names, upstream } = parseModuleSource(readSpecRegistry({ spec: { registry } }));
        expect(names).to.deep.equal([registry.repo]);
        expect(upstream.registry.host).to.equal(name.toLowerCase());
        expect(upstream.registry.scheme).to.equal((rest.scheme ?? 'https').toLowerCase());
        expect(upstream.registry.ca).to.have.lengthOf(rest.ca === undefined ? 0 : rest.ca === CA ? 1 : 2);
      }),
    );
  });

  it('returns a registry or its one error for any content of an object', () => {
    const registry = fc.record(
      { repo: anything, scheme: anything, dockerCfg: anything, ca: anything },
      { requiredKeys: [] },
    );
    const spec = fc.oneof(anything, fc.record({ registry: fc.oneof(anything, registry) }));
    fc.assert(
      fc.property(spec, (found) => {
        for (const { names } of parse(() => readSpecRegistry({ spec: found })) ?? []) {
          expect(names.every((name) => typeof name === 'string')).to.equal(true);
        }
      }),
    );
  });

  it('names a field that is not a text, without its value', () => {
    const read = (): unknown => readSpecRegistry({ spec: { registry: { repo: 'a.example', dockerCfg: ['canary'] } } });
    expect(read).to.throw(InvalidUpstreamError, /^dockerCfg: is not text$/);
  });

  it('finds no registry in a field named __proto__', () => {
    const object = JSON.parse('{"spec":{"__proto__":{"registry":{"repo":"a.example"}}}}') as Record<string, unknown>;
    expect(readSpecRegistry(object).repo).to.equal('');
  });
});

describe('readRegistrySecret', () => {
  it('reads the fields of the Secret, with any number of slashes between its parts', () => {
    fc.assert(
      fc.property(
        host,
        segments,
        fields,
        fc.tuple(slashes, slashes, slashes),
        (name, below, rest, [end, start, tail]) => {
          const { scheme, ca, dockerCfg } = rest;
          const object = {
            data: {
              address: base64(`${name}${end}\n`),
              path: base64(`${start}${below.join('/')}${tail}`),
              ...(scheme !== undefined && { scheme: base64(`${scheme}\n`) }),
              ...(ca !== undefined && { ca: base64(ca) }),
              '.dockerconfigjson': dockerCfg,
            },
          };
          const repo = [name, ...below].join('/');
          expect(readRegistrySecret(object)).to.deep.equal({ repo, scheme, dockerCfg, ca: ca?.trim() });
          const { names } = parseDefaultRegistry(readRegistrySecret(object));
          expect(names).to.deep.equal(['', repo, name]);
        },
      ),
    );
  });

  it('returns a registry or its one error for any content of an object', () => {
    const near = nearMiss(fc.constantFrom('r.example:5000/deckhouse/ee', '/deckhouse', 'HTTPS', CA), PIECES).map(
      base64,
    );
    const value = fc.oneof(anything, near, nearMiss(near, PIECES));
    const data = fc.record(
      { address: value, path: value, scheme: value, ca: value, '.dockerconfigjson': value },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(anything, data), (found) => {
        parse(() => readRegistrySecret({ data: found }));
      }),
    );
  });

  it('keeps surplus slashes in the middle, which are refused elsewhere', () => {
    const read = () => readRegistrySecret({ data: { address: base64('a.example'), path: base64('/a//b/') } });
    expect(read().repo).to.equal('a.example/a//b');
    expect(parse(read)).to.equal(undefined);
  });

  it('reads 64 KiB of any text in linear time, in each of its keys', () => {
    for (const key of ['address', 'path', 'scheme', 'ca', '.dockerconfigjson']) {
      expectLinear(PIECES, (text) => parse(() => readRegistrySecret({ data: { [key]: base64(text) } })));
    }
    expectLinear(['-----BEGIN CERTIFICATE-----', '-----END CERTIFICATE-----', '-', 'A', '\n'], (ca) =>
      parse(() => readRegistrySecret({ data: { address: base64('a.example'), ca: base64(ca) } })),
    );
  });
});
