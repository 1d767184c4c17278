import { expect } from 'chai';
import { type Explanation, explanationSchema } from '../../../../src/infrastructure/commands/explanation.ts';
import { explanationText } from '../../../../src/infrastructure/commands/explanation-text.ts';

const DIGEST = `sha256:${'1'.repeat(64)}`;
const LAYER = `sha256:${'2'.repeat(64)}`;
const NOW = new Date(Date.UTC(2026, 10, 25, 3));
const ago = (seconds: number): string => new Date(NOW.getTime() - seconds * 1000).toISOString();

const kept = { size: 403, stored_at: ago(7200), used_at: ago(5), verified_at: ago(200) };
const refused = {
  at: ago(200),
  code: 'UPSTREAM_DENIED',
  detail: 'registry refused the configured credentials',
  cause: 'manifest from registry.example: status 401',
};

const ALL: unknown = {
  request: { digest: DIGEST, repository: 'registry.example/ee', path: 'modules/a' },
  verdict: { outcome: 'joined', reason: 'the package is arriving, for this request, too', needs_registry: true },
  configuration: {
    registry: { resource: 'modulesources', object: 'ee' },
    upstream: {
      scheme: 'https',
      host: 'registry.example',
      repository: 'ee/modules/a',
      credential: { kind: 'basic', user: 'robot' },
      certificates: 2,
    },
    error: null,
    sources: [
      {
        resource: 'modulesources',
        listed_at: ago(65),
        objects: 2,
        rejected: [{ object: 'bad', reason: 'dockerCfg: not base64' }],
        failure: { at: ago(3), reason: 'list: Kubernetes API answered 403' },
      },
      { resource: 'secrets', listed_at: null, objects: 0, rejected: [], failure: null },
    ],
    known_repositories: [],
  },
  layer: { mediaType: 'application/gzip', digest: LAYER, size: 200 * 2 ** 20 },
  kept: { manifest: kept, layer: null },
  fill: { bytes: 130 * 2 ** 20, size: 200 * 2 ** 20, started_at: ago(12) },
  answers: {
    manifest: refused,
    layer: { at: ago(12), code: 'OK', detail: '', cause: null },
    latest: { at: ago(1), code: 'OK', detail: '', cause: null, operation: 'blob', digest: DIGEST },
  },
  failures: [
    { ...refused, repository: '', path: null, status: 502, count: 3, last_at: ago(200) },
    { ...refused, cause: null, repository: null, path: 'b', status: 502, count: 1, last_at: ago(300) },
  ],
};

describe('explanationText', () => {
  const text = (overrides: Partial<Record<keyof Explanation, unknown>> = {}): string =>
    explanationText(explanationSchema.parse({ ...(ALL as object), ...overrides }), NOW);

  it('says what it means first, and then all that it was made of', () => {
    expect(text()).to.equal(
      [
        'verdict     would be served, if the registry does its part (joined): the package is arriving, for this request, too',
        `digest      ${DIGEST}`,
        'repository  registry.example/ee, path modules/a',
        'registry    https://registry.example/ee/modules/a, out of modulesources ee',
        '            basic access as robot, 2 certificates besides the usual ones',
        'source      modulesources, 2 objects, listed 1 min 5 s ago',
        '            bad cannot be used: dockerCfg: not base64',
        '            failed 3 s ago: list: Kubernetes API answered 403',
        'source      secrets, not listed yet',
        'manifest    here: stored 2 h 0 min ago, used 5 s ago, verified 3 min 20 s ago',
        `layer       ${LAYER}`,
        '            200 MiB, not here',
        'arriving    130 MiB of 200 MiB (65 %), for 12 s now',
        'answered    3 min 20 s ago, the manifest: UPSTREAM_DENIED: registry refused the configured credentials',
        '            manifest from registry.example: status 401',
        'answered    12 s ago, the layer: OK',
        `answered    1 s ago, blob ${DIGEST}: OK`,
        'failed      3 times, last 3 min 20 s ago, of the default one: 502 UPSTREAM_DENIED: registry refused the configured credentials',
        '            manifest from registry.example: status 401',
        'failed      1 time, last 5 min 0 s ago, of the default one, path b: 502 UPSTREAM_DENIED: registry refused the configured credentials',
        '',
      ].join('\n'),
    );
  });

  it('says why a request would fail, and since when', () => {
    const verdict = { outcome: 'fail', status: 502, code: refused.code, reason: refused.detail, cause: refused.cause };
    expect(text({ verdict: { ...verdict, seen_at: ago(200) } }).split('\n', 3)).to.deep.equal([
      'verdict     would fail with 502 UPSTREAM_DENIED: registry refused the configured credentials',
      '            manifest from registry.example: status 401',
      '            as seen 3 min 20 s ago; asked again, the registry may do better',
    ]);
  });

  it('says how little is known', () => {
    const bare = text({
      request: { digest: DIGEST, repository: '', path: null },
      configuration: {
        registry: null,
        upstream: null,
        error: { detail: 'no default registry is configured' },
        sources: [],
        known_repositories: ['registry.example/ee', ''],
      },
      layer: null,
      kept: { manifest: null, layer: null },
      fill: null,
      answers: { manifest: null, layer: null, latest: null },
      failures: [],
    });
    expect(bare.split('\n').slice(1)).to.deep.equal([
      `digest      ${DIGEST}`,
      'repository  the default one',
      'registry    no default registry is configured',
      '            known: registry.example/ee, the default one',
      'manifest    not here',
      'layer       not known before its manifest is here',
      'answered    nothing was asked of this registry since the start',
      '',
    ]);
  });

  it('does not tell the latest answer twice', () => {
    const latest = { ...refused, operation: 'manifest', digest: DIGEST };
    expect(text({ answers: { manifest: refused, layer: null, latest } }).match(/^answered/gm)).to.have.lengthOf(1);
  });

  it('gives no orders to the terminal', () => {
    const told = text({ failures: [], verdict: { outcome: 'hit', reason: '\u001b[2J\nx', needs_registry: false } });
    expect(told.split('\n', 1)).to.deep.equal(['verdict     would be served (hit): ?[2J?x']);
  });
});
