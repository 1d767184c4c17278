import { expect } from 'chai';
import fc from 'fast-check';
import { inspect } from 'node:util';
import { parseChallenges, rankChallenges } from '../../../../../src/adapters/registry/auth/challenge.ts';
import type { OciRegistryGateway } from '../../../../../src/adapters/registry/oci-registry-gateway.ts';
import { PackageUnknownError, UpstreamDeniedError } from '../../../../../src/domain/errors.ts';
import type { Upstream } from '../../../../../src/domain/upstream.ts';
import { BASIC, FakeRegistry, type FakeRegistryOptions } from '../../../../support/fake-registry.ts';
import { expectLinear, nearMiss } from '../../../../support/hostile-text.ts';
import { makeImage } from '../../../../support/image.ts';
import { makeRegistryGateway } from '../../../../support/registry-gateway.ts';
import { rejection } from '../../../../support/rejection.ts';

const read = (header: string) =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

const PIECES = [
  ...[
    'Bearer ',
    'Basic',
    'Negotiate YQ==',
    'realm=',
    'realm="',
    '"',
    '\\',
    '\\"',
    '=',
    '==',
    ',',
    ', ',
    ' ',
    '\t',
    'a',
    ';',
  ],
  ...['a=b', 'a="b"', '__proto__=', '\r\n', 'ä', '\0'],
];
const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,6}$/);
const space = fc.constantFrom('', ' ', '\t', ' \t ');
const quoted = fc
  .string({ unit: 'grapheme-ascii' })
  .map((value) => ({ header: `"${value.replace(/["\\]/g, '\\$&')}"`, value }));
/** RFC 9110 section 11.2, in all its ways to write the same. */
const parameter = fc
  .tuple(
    token,
    space,
    space,
    fc.oneof(
      quoted,
      token.map((value) => ({ header: value, value })),
    ),
  )
  .map(([name, before, after, { header, value }]) => ({
    header: `${name}${before}=${after}${header}`,
    expected: [name.toLowerCase(), value] as const,
  }));
const comma = fc.constantFrom(',', ', ', ' ,\t', ',,', ', , ');
const challenge = fc
  .tuple(
    token,
    fc.array(fc.tuple(parameter, comma), { maxLength: 4 }),
    fc.constantFrom('', ' YQ', ' YII/+a.==', ' a~_-='),
    comma,
  )
  .map(([scheme, parameters, token68, end]) => {
    const list = parameters.flatMap(([{ header }, separator], index) => (index === 0 ? [header] : [separator, header]));
    return {
      header: `${scheme}${parameters.length > 0 ? ` ${list.join('')}` : token68}${end}`,
      expected: [scheme.toLowerCase(), Object.fromEntries(parameters.map(([{ expected }]) => expected))],
    };
  });
const challenges = fc.array(challenge, { maxLength: 4 });

describe('parseChallenges', () => {
  it('reads a service in UTF-8, as Node gives the header', () => {
    const received = Buffer.from('Bearer realm="https://a.example",service="реестр"').toString('latin1');
    expect(parseChallenges(received)[0]?.parameters.get('service')).to.equal('реестр');
  });

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
    [
      'Basic realm="a", Negotiate  YQ==',
      [
        ['basic', { realm: 'a' }],
        ['negotiate', {}],
      ],
    ],
    [
      'Basic realm="a", Bearer"b="',
      [
        ['basic', { realm: 'a' }],
        ['bearer', {}],
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

  it('reads all challenges that RFC 9110 allows', () => {
    fc.assert(
      fc.property(challenges, (list) => {
        expect(read(list.map(({ header }) => header).join(''))).to.deep.equal(list.map(({ expected }) => expected));
      }),
    );
  });

  it('returns valid schemes and parameters for any input', () => {
    const near = nearMiss(
      challenges.map((list) => list.map(({ header }) => header).join('')),
      PIECES,
    );
    fc.assert(
      fc.property(fc.oneof(near, fc.string({ unit: 'binary' })), (header) => {
        for (const { scheme, parameters } of parseChallenges(header)) {
          expect(scheme).to.match(/^[!#$%&'*+.^_`|~0-9a-z-]+$/);
          for (const [name, value] of parameters) {
            expect(name).to.match(/^[!#$%&'*+.^_`|~0-9a-z-]+$/);
            expect(header.replaceAll('\\', '')).to.include(value.replaceAll('\\', ''));
          }
        }
      }),
    );
  });

  it('reads 64 KiB of any text in linear time', () => {
    expectLinear(PIECES, parseChallenges);
  });
});

describe('rankChallenges', () => {
  it('puts Bearer before Basic, and leaves out other schemes', () => {
    const rank = (header: string) => rankChallenges(parseChallenges(header)).map(({ scheme }) => scheme);
    expect(rank('Basic realm="a", Bearer realm="b"')).to.deep.equal(['bearer', 'basic']);
    expect(rank('Bearer realm="a", Basic, Bearer realm="b"')).to.deep.equal(['bearer', 'bearer', 'basic']);
    expect(rank('Bearer, Basic realm="a"')).to.deep.equal(['basic']);
    expect(rank('Negotiate')).to.deep.equal([]);
  });
});

const signal = new AbortController().signal;

describe('BaseChallenge', () => {
  const image = makeImage([Buffer.from('layer')]);
  const registries: FakeRegistry[] = [];
  afterEach(() => Promise.all(registries.splice(0).map((registry) => registry.close())));

  async function start(options: FakeRegistryOptions): Promise<FakeRegistry> {
    const registry = await FakeRegistry.start(options);
    registries.push(registry);
    registry.publish(image);
    return registry;
  }

  /** Answers each request without a header by `status`, but for /v2/, which the registry answers itself. */
  async function startHiding(options: FakeRegistryOptions, status = 404): Promise<FakeRegistry> {
    const registry = await start(options);
    registry.script(({ url, headers }, response) => {
      if (headers.authorization !== undefined || !/^\/v2\/./.test(url)) return false;
      response.writeHead(status).end();
      return true;
    });
    return registry;
  }

  const manifest = (gateway: OciRegistryGateway, upstream: Upstream) =>
    gateway.fetchManifest(upstream, image.digest, signal);
  const asked = (registry: FakeRegistry): string[] =>
    registry.log.map(({ url, headers: { authorization } }) => {
      const [what = ''] = /manifests|blobs|token|\/v2\/$/.exec(url) ?? [];
      return `${what} ${authorization?.split(' ')[0] ?? '-'}`;
    });

  for (const status of [400, 401, 403, 404]) {
    for (const auth of ['basic', 'bearer'] as const) {
      it(`is requested when a registry hides content by ${String(status)}, and answered (${auth})`, async () => {
        const registry = await startHiding({ auth }, status);
        const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
        expect((await manifest(gateway, upstream)).byteLength).to.equal(image.manifest.bytes.byteLength);
        expect(asked(registry)).to.deep.equal([
          'manifests -',
          '/v2/ -',
          ...(auth === 'basic' ? ['manifests Basic'] : ['token Basic', 'manifests Bearer']),
        ]);
      });
    }
  }

  it('is answered at once for the next repository of a registry that has hidden one', async () => {
    const registry = await startHiding({ auth: 'bearer' });
    const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
    await manifest(gateway, upstream);
    registry.log.length = 0;
    await manifest(gateway, { ...upstream, repository: 'other/repository' as typeof upstream.repository });
    expect(asked(registry)).to.deep.equal(['token Basic', 'manifests Bearer']);
  });

  it('is requested after a 401 without a challenge', async () => {
    const registry = await start({ auth: 'basic' });
    registry.failTimes('/manifests/', { status: 401, headers: { 'www-authenticate': 'Negotiate' } });
    await manifest(makeRegistryGateway(), registry.upstream());
    expect(asked(registry)).to.deep.equal(['manifests -', '/v2/ -', 'manifests Basic']);
  });

  it('is requested once for all requests for missing content at the same time', async () => {
    const registry = await startHiding({ auth: 'basic' });
    const [gateway, upstream] = [makeRegistryGateway(), registry.upstream()];
    await Promise.all(Array.from({ length: 20 }, () => manifest(gateway, upstream)));
    expect(asked(registry).filter((one) => one === '/v2/ -')).to.have.lengthOf(1);
  });

  it('leaves the answer unchanged if there is no challenge', async () => {
    let now = 0;
    const registry = await start({});
    const gateway = makeRegistryGateway({ now: () => now });
    const upstream = registry.upstream({ auth: { username: 'robot', password: 'canary' } });
    registry.failTimes('/manifests/', { status: 404 }, { status: 404 }, { status: 404 });
    for (const at of [0, 59_000, 61_000]) {
      now = at;
      expect(await rejection(manifest(gateway, upstream))).to.be.instanceOf(PackageUnknownError);
    }
    // A minute later the registry is asked once more.
    expect(asked(registry)).to.deep.equal(['manifests -', '/v2/ -', 'manifests -', 'manifests -', '/v2/ -']);
  });

  it('is not requested by an anonymous client, nor after a request with a header', async () => {
    const hiding = await startHiding({ auth: 'basic' });
    expect(await rejection(manifest(makeRegistryGateway(), hiding.upstream({ auth: {} })))).to.be.instanceOf(
      PackageUnknownError,
    );
    expect(asked(hiding)).to.deep.equal(['manifests -']);
    const [registry, gateway] = [await start({ auth: 'basic' }), makeRegistryGateway()];
    const upstream = registry.upstream();
    await manifest(gateway, upstream);
    registry.log.length = 0;
    registry.failTimes('/manifests/', { status: 404 });
    await rejection(manifest(gateway, upstream));
    expect(asked(registry)).to.deep.equal(['manifests Basic']);
  });

  it('does not add a password to all requests if it does not help', async () => {
    const registry = await start({});
    registry.script(({ url }, response) => {
      if (url !== '/v2/') return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="a"' }).end();
      return true;
    });
    const [gateway, upstream] = [
      makeRegistryGateway(),
      registry.upstream({ auth: { username: 'robot', password: 'canary' } }),
    ];
    registry.failTimes('/manifests/', { status: 404 }, { status: 404 });
    expect(await rejection(manifest(gateway, upstream))).to.be.instanceOf(PackageUnknownError);
    await manifest(gateway, upstream);
    expect(asked(registry)).to.deep.equal(['manifests -', '/v2/ -', 'manifests Basic', 'manifests -']);
  });

  it('does not cause a failure if /v2/ fails', async () => {
    const registry = await start({});
    registry.failTimes('/manifests/', { status: 404 });
    registry.script(({ url }, response) => {
      if (url !== '/v2/') return false;
      response.destroy();
      return true;
    });
    const gateway = makeRegistryGateway({ retryTimeoutMs: 0 });
    const upstream = registry.upstream({ auth: { username: 'robot', password: 'canary' } });
    expect(await rejection(manifest(gateway, upstream))).to.be.instanceOf(PackageUnknownError);
  });

  it('sends no credential to a foreign realm, and reports this', async () => {
    const [registry, thief] = [await startHiding({ auth: 'bearer' }), await start({})];
    registry.realm = `${thief.origin}/steal`;
    const error = await rejection(manifest(makeRegistryGateway(), registry.upstream()));
    expect(error).to.be.instanceOf(UpstreamDeniedError);
    expect(inspect(error)).to.include('is not trusted with credentials');
    expect(thief.log).to.deep.equal([]);
    expect(registry.log.map(({ headers }) => headers.authorization)).to.deep.equal([undefined, undefined]);
  });

  it('is not requested from the storage of a redirect, which gets no credential', async () => {
    const [registry, storage] = [await start({ auth: 'basic' }), await start({})];
    registry.script(({ url, headers }, response) => {
      if (!url.includes('/manifests/') || headers.authorization !== BASIC) return false;
      response.writeHead(307, { location: `${storage.origin}/v2/a/manifests/gone` }).end();
      return true;
    });
    await rejection(manifest(makeRegistryGateway(), registry.upstream()));
    expect(asked(storage)).to.deep.equal(['manifests -']);
  });
});
