import { expect } from 'chai';
import fc from 'fast-check';
import { formatPlatform, parseIndexEntry, parsePlatform, platformCandidates } from '../../../src/domain/index-entry.ts';
import { expectLinear } from '../../support/hostile-text.ts';
import { digestOf } from '../../../src/domain/descriptor.ts';
import { bytesOf } from '../../support/image.ts';

const name = fc.stringMatching(/^[a-z0-9]{1,8}$/);
const platforms = fc.record({ os: name, architecture: name, variant: name }, { requiredKeys: ['os', 'architecture'] });

describe('parsePlatform', () => {
  it('reads os/architecture[/variant] and nothing else', () => {
    expect(parsePlatform('linux/arm64/v8')).to.deep.equal({ os: 'linux', architecture: 'arm64', variant: 'v8' });
    for (const text of ['', 'linux', 'linux/', 'Linux/amd64', 'linux/amd64/v1/x', 'linux-amd64']) {
      expect(parsePlatform(text), text).to.equal(undefined);
    }
  });

  it('reads its own output', () => {
    fc.assert(
      fc.property(platforms, (platform) => {
        expect(parsePlatform(formatPlatform(platform))).to.deep.equal(platform);
      }),
    );
  });

  it('reads 64 KiB of any text in linear time', () => {
    expectLinear(['a', '0', '/', 'A', '-', ' '], parsePlatform);
  });
});

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';
const ATTESTED = { annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } };
const digests = [1, 2, 3, 4].map((seed) => digestOf(bytesOf(4, seed)));
const linux = (architecture: string, variant?: string) => ({ os: 'linux', architecture, variant });
const amd64 = { os: 'linux', architecture: 'amd64' };
const arm64 = { os: 'linux', architecture: 'arm64' };

describe('parseIndexEntry', () => {
  const digest = digests[0];
  const bare = { digest, isIndex: false, platform: undefined, role: 'image' };

  for (const [what, json] of [
    ['no size', { mediaType: MANIFEST, digest }],
    ['no mediaType', { digest, size: 1 }],
    ['a size that is none', { mediaType: MANIFEST, digest, size: -1 }],
    ['a platform that is null', { mediaType: MANIFEST, digest, platform: null }],
    ['a platform without names', { mediaType: MANIFEST, digest, platform: { os: '', architecture: '' } }],
    ['the type of its config', { digest, artifactType: 'application/vnd.oci.image.config.v1+json' }],
  ] as const) {
    it(`needs only the digest, and accepts an entry with ${what}`, () => {
      expect(parseIndexEntry(json)).to.deep.equal(bare);
    });
  }

  for (const mediaType of [INDEX.toUpperCase(), `${INDEX}; charset=utf-8`, `${INDEX} ;v="1"`]) {
    it(`recognizes the type ${mediaType}`, () => {
      expect(parseIndexEntry({ digest, mediaType })).to.include({ isIndex: true });
    });
  }

  for (const [what, json] of [
    ['null', null],
    ['a list', [digest]],
    ['a text', digest],
    ['an entry without a digest', { mediaType: MANIFEST, size: 1 }],
    ['an entry with a sha512 digest', { mediaType: MANIFEST, digest: `sha512:${'a'.repeat(128)}`, size: 1 }],
    ['an entry of an unknown type', { mediaType: 'application/vnd.example+json', digest, size: 1 }],
    ['an entry whose type is no text', { mediaType: 1, digest, size: 1 }],
  ] as const) {
    it(`skips ${what}`, () => {
      expect(parseIndexEntry(json)).to.equal(undefined);
    });
  }

  it('recognizes the kind of an entry', () => {
    expect(parseIndexEntry({ mediaType: INDEX, digest })).to.include({ isIndex: true });
    expect(parseIndexEntry({ digest, ...ATTESTED })).to.include({ role: 'attestation' });
    const artifactType = 'application/vnd.docker.attestation.manifest.v1+json';
    expect(parseIndexEntry({ digest, artifactType })).to.include({ role: 'attestation' });
    expect(parseIndexEntry({ digest, artifactType: 'text/plain' })).to.include({ role: 'artifact' });
  });
});

describe('platformCandidates', () => {
  /** The places of the candidates among the entries. */
  function candidates(entries: readonly object[], wanted: typeof amd64 & { variant?: string }): number[] {
    const parsed = entries.flatMap((entry, at) => parseIndexEntry({ digest: digests[at], ...entry }) ?? []);
    return platformCandidates(parsed, wanted).map(({ digest }) => digests.indexOf(digest));
  }

  const cases: [title: string, entries: object[], wanted: typeof amd64 & { variant?: string }, places: number[]][] = [
    ['takes the platform that is wanted', [{ platform: arm64 }, { platform: amd64 }], amd64, [1]],
    ['has none for a missing platform', [{ platform: arm64 }, { platform: amd64 }], linux386(), []],
    [
      'takes amd64 before amd64/v3',
      [{ platform: linux('amd64', 'v3') }, { platform: linux('amd64') }, { platform: linux('amd64', 'v2') }],
      amd64,
      [1, 0, 2],
    ],
    [
      'takes amd64/v1 for amd64',
      [{ platform: linux('amd64', 'v2') }, { platform: linux('amd64', 'v1') }],
      amd64,
      [1, 0],
    ],
    [
      'takes x86_64, the name of the kernel, for amd64',
      [{ platform: arm64 }, { platform: linux('x86_64') }],
      amd64,
      [1],
    ],
    ['takes aarch64/v8 for arm64', [{ platform: amd64 }, { platform: linux('aarch64', 'v8') }], arm64, [1]],
    ['takes Linux/AMD64 for linux/amd64', [{ platform: { os: 'Linux', architecture: 'AMD64' } }, {}], amd64, [0, 1]],
    ['takes arm64 for arm64/v8', [{ platform: arm64 }], { ...arm64, variant: 'v8' }, [0]],
    ['takes no amd64 for amd64/v3', [{ platform: amd64 }], { ...amd64, variant: 'v3' }, []],
    [
      'takes the first variant that is listed',
      [{ platform: linux('arm', 'v7') }, { platform: linux('arm', 'v6') }],
      { os: 'linux', architecture: 'arm' },
      [0, 1],
    ],
    [
      'takes the variant that is wanted',
      [{ platform: linux('arm', 'v7') }, { platform: linux('arm', 'v6') }],
      { os: 'linux', architecture: 'arm', variant: 'v6' },
      [1],
    ],
    ['takes an entry without a platform for linux/amd64', [{ platform: arm64 }, {}], amd64, [1]],
    ['takes an exact match before it', [{}, { platform: amd64 }], amd64, [1, 0]],
    ['takes it for any platform when it is the only one', [{}], arm64, [0]],
    ['does not when there are others', [{}, { platform: amd64 }], arm64, []],
    ['looks into an index without a platform', [{ platform: amd64 }, { mediaType: INDEX }], arm64, [1]],
    ['takes an attestation for nothing', [{ platform: amd64, ...ATTESTED }, { platform: amd64 }], amd64, [1]],
    ['takes an attestation for nothing when it is alone', [{ platform: amd64, ...ATTESTED }], amd64, []],
    ['counts no attestation among the choices', [ATTESTED, {}], arm64, [1]],
    ['takes an image before an artifact', [{ platform: amd64, artifactType: 'a/b' }, {}], amd64, [1, 0]],
    ['takes no entry whose platform is malformed', [{ platform: { os: 1, architecture: 'amd64' } }], amd64, []],
    ['takes no entry whose platform is no object', [{ platform: 'linux/amd64' }], amd64, []],
  ];
  for (const [title, entries, wanted, places] of cases) {
    it(title, () => {
      expect(candidates(entries, wanted)).to.deep.equal(places);
    });
  }
});

function linux386(): typeof amd64 {
  return { os: 'linux', architecture: '386' };
}
