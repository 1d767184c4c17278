import { expect } from 'chai';
import { explanationText } from '../../../../../src/adapters/http/package/explanation-text.ts';
import type { Explanation } from '../../../../../src/application/explain-package.ts';
import type { ImageRoot } from '../../../../../src/application/get-image.ts';
import type { UpstreamAnswer } from '../../../../../src/domain/ports/registry-gateway.ts';
import { RepositoryUnknownError } from '../../../../../src/domain/errors.ts';
import { parseRepositoryName, parseRepositoryPath } from '../../../../../src/domain/reference.ts';
import { explanationOf } from '../../../../support/explanation.ts';
import { makePackage } from '../../../../support/image.ts';

const image = makePackage(10);
const { digest } = image;
const layer = { ...image.layer.descriptor, size: 200 * 2 ** 20 };
const NOW = new Date(Date.UTC(2026, 10, 25, 3));
const ago = (seconds: number): Date => new Date(NOW.getTime() - seconds * 1000);

const request = {
  digest,
  repository: parseRepositoryName('registry.example/ee'),
  path: parseRepositoryPath('modules/a'),
};
const upstream = {
  scheme: 'https',
  host: 'registry.example',
  repository: parseRepositoryPath('ee/modules/a'),
  credential: { kind: 'basic', user: 'robot' },
  certificates: 2,
} as const;
const cached = { digest, size: 403, storedAt: ago(7200), usedAt: ago(5), verifiedAt: ago(200) };
const refused: UpstreamAnswer = {
  operation: 'manifest',
  host: 'registry.example',
  repository: upstream.repository,
  digest,
  at: ago(200),
  code: 'UPSTREAM_DENIED',
  detail: 'registry refused the configured credentials',
  cause: 'manifest from registry.example: status 401',
};
const answered: UpstreamAnswer = { ...refused, operation: 'blob', code: 'OK', detail: '', cause: undefined };
const failed = {
  ...{ request, status: 502, code: refused.code, detail: refused.detail, cause: refused.cause },
  ...{ count: 3, firstAt: ago(900), lastAt: ago(200) },
};

const ALL: Explanation = {
  request,
  verdict: { outcome: 'joined', reason: 'the package is arriving, for this request, too', needsRegistry: true },
  configuration: {
    registry: { resource: 'modulesources', object: 'ee', names: [request.repository], upstream },
    upstream,
    error: undefined,
    sources: [
      {
        resource: 'modulesources',
        listedAt: ago(65),
        objects: 2,
        rejected: [{ object: 'bad', reason: 'dockerCfg: not base64' }],
        failure: { at: ago(3), reason: 'list: Kubernetes API answered 403' },
      },
      { resource: 'secrets', listedAt: undefined, objects: 0, rejected: [], failure: undefined },
    ],
    askedBefore: [],
    known: [],
    imageRoots: [],
  },
  layer,
  cached: { manifest: cached, layer: undefined },
  download: {
    request,
    layer,
    bytes: 130 * 2 ** 20,
    startedAt: ago(12),
    clients: 1,
    isQueued: false,
    source: undefined,
  },
  signature: undefined,
  answers: { manifest: refused, layer: { ...answered, at: ago(12) }, latest: { ...answered, at: ago(1) } },
  failures: [
    { ...failed, request: { digest, repository: parseRepositoryName(''), path: undefined } },
    {
      ...failed,
      cause: undefined,
      count: 1,
      lastAt: ago(300),
      request: { ...request, repository: parseRepositoryName('') },
    },
  ],
};

describe('explanationText', () => {
  const text = (overrides: Partial<Explanation> = {}): string => explanationText({ ...ALL, ...overrides }, NOW);

  it('begins with the meaning, and then shows all facts', () => {
    expect(text()).to.equal(
      [
        'verdict     would be served, if the registry delivers it (joined): the package is arriving, for this request, too',
        `digest      ${digest}`,
        'repository  registry.example/ee, path modules/a',
        'registry    https://registry.example/ee/modules/a, out of modulesources ee',
        '            basic access as robot, 2 certificates besides the usual ones',
        'source      modulesources, 2 objects, listed 65 s ago',
        '            bad cannot be used: dockerCfg: not base64',
        '            failed 3 s ago: list: Kubernetes API answered 403',
        'source      secrets, not listed yet',
        'manifest    cached: stored 2 h ago, used 5 s ago, verified 3 min ago',
        `layer       ${layer.digest}`,
        '            200 MiB, not cached',
        'arriving    130 MiB of 200 MiB (65 %), for 12 s now',
        'answered    3 min ago, the manifest: UPSTREAM_DENIED: registry refused the configured credentials',
        '            manifest from registry.example: status 401',
        'answered    12 s ago, the layer: OK',
        `answered    1 s ago, blob ${digest}: OK`,
        'failed      3 times, last 3 min ago, of the default one: 502 UPSTREAM_DENIED: registry refused the configured credentials',
        '            manifest from registry.example: status 401',
        'failed      1 time, last 5 min ago, of the default one, path modules/a: 502 UPSTREAM_DENIED: registry refused the configured credentials',
        '',
      ].join('\n'),
    );
  });

  it('says what is wrong with a password', () => {
    const credential = { kind: 'basic', user: 'robot', flaw: 'the password ends with a line feed' } as const;
    const flawed = text({ configuration: { ...ALL.configuration, upstream: { ...upstream, credential } } });
    expect(flawed).to.include('\n            the password ends with a line feed\n');
  });

  it('says that the digest is that of a layer', () => {
    const layer = text({ cached: { manifest: undefined, isOther: true, layer: undefined } });
    expect(layer).to.include('manifest    not cached: the blob of this digest is a layer or another part of an image;');
  });

  it('says why it withholds the name of a user', () => {
    const credential = { kind: 'basic', user: undefined } as const;
    const withheld = text({ configuration: { ...ALL.configuration, upstream: { ...upstream, credential } } });
    expect(withheld).to.include(
      'basic access as a user whose name is withheld: its password is so short or common that the name may be a token, 2 cert',
    );
  });

  it('shows why a request would fail, since when, and until when the registry is not asked', () => {
    const { detail: reason, cause } = refused;
    const verdict = {
      outcome: 'fail',
      code: 'UPSTREAM_DENIED',
      reason,
      cause,
      seenAt: ago(200),
      retryAt: ago(-30),
    } as const;
    expect(text({ verdict }).split('\n', 4)).to.deep.equal([
      'verdict     would fail with 502 UPSTREAM_DENIED: registry refused the configured credentials',
      '            manifest from registry.example: status 401',
      '            as seen 3 min ago; the registry may answer differently now',
      '            the registry has asked for a wait, and is not asked for another 30 s',
    ]);
  });

  it('lists the sources before the registry, and until when a source rests', () => {
    const askedBefore = [
      { kind: 'mirror', name: 'mirror.example', resting: undefined, isFailing: true, distrusted: 0 },
      {
        kind: 'bucket',
        name: 's3.example',
        resting: { until: ago(-20), reason: 'slow: 12 KiB per second' },
        isFailing: true,
        distrusted: 2,
      },
    ] as const;
    const lines = text({ configuration: { ...ALL.configuration, askedBefore } }).split('\n');
    expect(lines.slice(3, 7)).to.deep.equal([
      'before it   mirror mirror.example, which failed last time',
      'before it   bucket s3.example, asked last for another 20 s',
      '            slow: 12 KiB per second',
      '            not asked for 2 digests because it sent wrong bytes',
    ]);
  });

  it('names the places of images in their order, with the last answer of each', () => {
    const image = parseRepositoryPath('deckhouse-cli');
    const places: Pick<ImageRoot, 'repository' | 'answer'>[] = [
      { repository: parseRepositoryPath('ee'), answer: { at: ago(3), image, error: new RepositoryUnknownError('no') } },
      { repository: parseRepositoryPath('a/b'), answer: { at: ago(200), image, error: undefined } },
      { repository: undefined, answer: undefined },
    ];
    const imageRoots = places.map((place) => ({ host: 'a.example', ...place }));
    const lines = text({ configuration: { ...ALL.configuration, imageRoots } }).split('\n');
    expect(lines.filter((line) => line.startsWith('images'))).to.deep.equal([
      'images      a.example/ee, 3 s ago, deckhouse-cli: NAME_UNKNOWN: no',
      'images      a.example/a/b, 3 min ago, deckhouse-cli: OK',
      'images      a.example, not asked since the start',
    ]);
  });

  it('says what is known of the signature', () => {
    const told = (signature: Explanation['signature']): string[] =>
      text({ signature })
        .split('\n')
        .slice(13, 15)
        .map((line) => line.trim());
    const valid = { kind: 'valid', format: 'cosign', key: 'c0ffee' } as const;
    const missing = { kind: 'missing', reason: 'there is none' } as const;
    expect(
      told({ mode: 'enforce', finding: { request, verdict: valid, verifiedAt: ago(5), index: digest } }),
    ).to.deep.equal(['signature   valid (enforce), 5 s ago: cosign, by the key c0ffee', `of the index ${digest}`]);
    expect(told({ mode: 'report', finding: { request, verdict: missing, verifiedAt: ago(5) } })).to.deep.equal([
      'signature   missing (report), 5 s ago',
      'there is none',
    ]);
    expect(told({ mode: 'report', finding: undefined })[0]).to.equal(
      'signature   not verified since the start (report)',
    );
  });

  it('shows that little is known', () => {
    const bare = explanationOf({ ...request, repository: parseRepositoryName(''), path: undefined });
    const names = [request.repository, parseRepositoryName('')];
    const known = [{ resource: 'modulesources', object: 'ee', names, upstream }];
    const error = new RepositoryUnknownError('no default registry is configured');
    const told = explanationText({ ...bare, configuration: { ...bare.configuration, error, known } }, NOW);
    expect(told.split('\n').slice(1)).to.deep.equal([
      `digest      ${digest}`,
      'repository  the default one',
      'registry    no default registry is configured',
      '            known: registry.example/ee, the default one',
      'manifest    not cached',
      'layer       not known before its manifest is cached',
      'answered    nothing was asked of this registry since the start',
      '',
    ]);
  });

  it('does not show the latest answer twice', () => {
    const told = text({ answers: { manifest: refused, layer: undefined, latest: refused } });
    expect(told.match(/^answered/gm)).to.have.lengthOf(1);
  });

  it('contains no control characters', () => {
    const told = text({ verdict: { outcome: 'hit', reason: '\u001b[2J\nx', needsRegistry: false } });
    expect(told.split('\n', 1)).to.deep.equal(['verdict     would be served (hit): ?[2J?x']);
  });

  for (const [by, lines] of [
    [
      'agent',
      ['dialled at 127.0.0.1:5001, the registry agent of the master', '2 certificates instead of the usual ones'],
    ],
    ['store', ['dialled at 127.0.0.1:5001, with the account of the store', '2 certificates besides the usual ones']],
  ] as const) {
    it(`says that a registry is dialled at the ${by}`, () => {
      const dialled = { by, host: '127.0.0.1:5001' };
      const told = text({ configuration: { ...ALL.configuration, upstream: { ...upstream, dialled } } });
      for (const line of lines) expect(told).to.include(line);
    });
  }
});
