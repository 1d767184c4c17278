import { expect } from 'chai';
import fc from 'fast-check';
import { digestOf } from '../../../src/domain/digest.ts';
import { InvalidContentError } from '../../../src/domain/errors.ts';
import { packageLayer, parseManifest, parsePlatform, selectPlatform } from '../../../src/domain/manifest.ts';
import { expectLinear, nearMiss, outcome } from '../../support/hostile-text.ts';
import { bytesOf, encode, makeImage, makeIndex, makePackage } from '../../support/image.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';
const descriptor = { mediaType: 'a/b', digest: digestOf(bytesOf(1)), size: 1 };

const descriptors = fc.record({
  mediaType: fc.stringMatching(/^[!-~]{1,255}$/),
  digest: fc.uint8Array({ maxLength: 4 }).map(digestOf),
  size: fc.maxSafeNat(),
});
const name = fc.stringMatching(/^[a-z0-9]{1,8}$/);
const platforms = fc.record({ os: name, architecture: name, variant: name }, { requiredKeys: ['os', 'architecture'] });
const manifests = fc.record(
  {
    schemaVersion: fc.constant(2),
    mediaType: fc.constant(MANIFEST),
    config: descriptors,
    layers: fc.array(descriptors),
  },
  { requiredKeys: ['layers'] },
);
const indexes = fc.record(
  {
    schemaVersion: fc.constant(2),
    mediaType: fc.constant(INDEX),
    manifests: fc.array(fc.tuple(descriptors, fc.option(platforms, { nil: undefined }))),
  },
  { requiredKeys: ['manifests'] },
);
const written = fc.oneof(
  manifests,
  indexes.map((index) => ({
    ...index,
    manifests: index.manifests.map(([entry, platform]) => ({ ...entry, platform })),
  })),
);
const PIECES = [
  ...['{', '}', '[', ']', ',', ':', '"', '"layers":', '"manifests":', '"mediaType":', '"__proto__":', '"constructor":'],
  ...[
    'null',
    'true',
    '0',
    '-1',
    '-0',
    '1.5',
    '"1"',
    '1e400',
    '9007199254740993',
    'sha256:',
    '\\u0000',
    '\\',
    '\n',
    'ä',
  ],
];
const parse = (text: string) => outcome(() => parseManifest(Buffer.from(text)), InvalidContentError);

describe('parseManifest', () => {
  it('reads a manifest, and the package is its last layer', () => {
    const image = makeImage([bytesOf(1), bytesOf(2, 2)]);
    const manifest = parseManifest(image.manifest.bytes);
    if (manifest.kind !== 'manifest') throw new Error('not a manifest');
    expect(manifest.layers).to.have.lengthOf(2);
    expect(packageLayer(manifest)).to.deep.equal(image.layer.descriptor);
  });

  it('reads what has no mediaType by what it holds', () => {
    expect(parseManifest(encode({ layers: [descriptor] })).kind).to.equal('manifest');
    expect(parseManifest(encode({ manifests: [descriptor] })).kind).to.equal('index');
  });

  const refused: [what: string, json: unknown][] = [
    [
      'both manifest and index (CVE-2021-41190)',
      { mediaType: MANIFEST, layers: [descriptor], manifests: [descriptor] },
    ],
    ['a manifest that says it is an index', { mediaType: INDEX, layers: [descriptor] }],
    ['another type', { mediaType: 'application/vnd.docker.distribution.manifest.v1+json', layers: [] }],
    ['a mediaType that is no text', { mediaType: 1, layers: [] }],
    ['neither layers nor manifests', {}],
    ['layers that are no list', { layers: {} }],
    ['too many layers', { layers: Array.from({ length: 1001 }, () => descriptor) }],
    ['a layer without a digest', { layers: [{ ...descriptor, digest: undefined }] }],
    ['a layer with another digest', { layers: [{ ...descriptor, digest: 'sha512:aa' }] }],
    ['a size that is text', { layers: [{ ...descriptor, size: '1' }] }],
    ['a negative size', { layers: [{ ...descriptor, size: -1 }] }],
    ['a size beyond whole numbers', { layers: [{ ...descriptor, size: 2 ** 53 }] }],
    ['a media type longer than any', { layers: [{ ...descriptor, mediaType: 'a'.repeat(256) }] }],
    ['a layer that is no object', { layers: [null] }],
    ['a media type that would break a header', { layers: [{ ...descriptor, mediaType: 'a\r\nX: y' }] }],
    ['a list', []],
    ['null', null],
  ];
  for (const [what, json] of refused) {
    it(`refuses ${what}`, () => {
      expect(() => parseManifest(encode(json))).to.throw(InvalidContentError);
    });
  }

  it('refuses what is not JSON, and bytes that are no text', () => {
    expect(() => parseManifest(Buffer.from('<html>'))).to.throw(InvalidContentError);
    expect(() => parseManifest(Uint8Array.of(0x22, 0xff, 0x22))).to.throw(InvalidContentError);
  });

  it('asks nothing of a config, which no package depends on', () => {
    for (const config of [undefined, null, {}, { ...descriptor, digest: 'sha512:aa' }, 'text']) {
      const layers = [descriptor];
      const expected = { kind: 'manifest', mediaType: MANIFEST, config: undefined, layers };
      expect(parseManifest(encode({ mediaType: MANIFEST, config, layers }))).to.deep.equal(expected);
    }
  });

  it('takes a field named __proto__ for a field', () => {
    const json = Buffer.from(`{"__proto__":{"layers":[]},"mediaType":"${INDEX}","manifests":[]}`);
    expect(parseManifest(json)).to.deep.equal({ kind: 'index', mediaType: INDEX, manifests: [] });
  });

  it('reads back what is written as the specification says', () => {
    fc.assert(
      fc.property(manifests, ({ layers, ...rest }) => {
        const { mediaType = MANIFEST, config } = rest;
        const expected = { kind: 'manifest', mediaType, config, layers };
        expect(parseManifest(encode({ ...rest, layers }))).to.deep.equal(expected);
      }),
    );
    fc.assert(
      fc.property(indexes, ({ manifests: entries, ...rest }) => {
        const json = { ...rest, manifests: entries.map(([entry, platform]) => ({ ...entry, platform })) };
        const expected = entries.map(([entry, platform]) => ({ descriptor: entry, platform }));
        const { mediaType = INDEX } = rest;
        expect(parseManifest(encode(json))).to.deep.equal({ kind: 'index', mediaType, manifests: expected });
      }),
    );
  });

  it('ends in a sound document or in its one error, whatever it reads', () => {
    const text = fc.oneof(
      nearMiss(
        written.map((json) => JSON.stringify(json)),
        PIECES,
      ),
      fc.json(),
      fc
        .record({ layers: fc.jsonValue(), manifests: fc.jsonValue(), mediaType: fc.jsonValue() }, { requiredKeys: [] })
        .map((json) => JSON.stringify(json)),
    );
    fc.assert(
      fc.property(text, (json) => {
        const document = parse(json);
        if (document === undefined) return;
        const found = document.kind === 'index' ? document.manifests.map((entry) => entry.descriptor) : document.layers;
        for (const { mediaType, digest, size } of found) {
          expect(mediaType).to.match(/^[!-~]+$/);
          expect(digest).to.match(/^sha256:[0-9a-f]{64}$/);
          expect(Number.isSafeInteger(size) && size >= 0, 'size').to.equal(true);
        }
        expect(Object.keys(Object.prototype)).to.deep.equal([]);
      }),
    );
  });

  it('reads 64 KiB of anything in linear time', () => {
    expectLinear(PIECES, parse);
  });

  for (const [start, end] of [
    ['[', ']'],
    ['{"layers":[', ']}'],
    ['{"manifests":', '}'],
    ['{"__proto__":', '}'],
  ] as const) {
    it(`refuses 4 MiB of ${start} in one another`, () => {
      const times = Math.floor((4 * 1024 * 1024) / (start.length + end.length));
      expect(parse(`${start.repeat(times)}1${end.repeat(times)}`)).to.equal(undefined);
    });
  }
});

describe('packageLayer', () => {
  it('refuses an image without layers', () => {
    expect(() => packageLayer({ layers: [] })).to.throw('image has no layers');
  });
});

describe('selectPlatform', () => {
  const [arm, armV7, amd] = [1, 2, 3].map((seed) => makePackage(10, seed));
  if (arm === undefined || armV7 === undefined || amd === undefined) throw new Error('three packages');
  const { index } = makeIndex([
    { image: armV7, platform: { os: 'linux', architecture: 'arm', variant: 'v7' } },
    { image: arm, platform: { os: 'linux', architecture: 'arm', variant: 'v6' } },
    { image: amd, platform: { os: 'linux', architecture: 'amd64' } },
  ]);
  const parsed = parseManifest(index.bytes);
  if (parsed.kind !== 'index') throw new Error('not an index');

  it('takes the first that fits; a variant counts when it is asked for', () => {
    expect(selectPlatform(parsed, { os: 'linux', architecture: 'amd64' }).digest).to.equal(amd.digest);
    expect(selectPlatform(parsed, { os: 'linux', architecture: 'arm' }).digest).to.equal(armV7.digest);
    expect(selectPlatform(parsed, { os: 'linux', architecture: 'arm', variant: 'v6' }).digest).to.equal(arm.digest);
  });

  it('says which platform is missing', () => {
    const select = () => selectPlatform(parsed, { os: 'windows', architecture: 'amd64' });
    expect(select).to.throw(InvalidContentError, 'image has no windows/amd64 manifest');
  });

  it('passes over entries without a platform', () => {
    const loose = parseManifest(encode({ manifests: [descriptor, { ...descriptor, platform: { os: 1 } }] }));
    if (loose.kind !== 'index') throw new Error('not an index');
    expect(() => selectPlatform(loose, { os: 'linux', architecture: 'amd64' })).to.throw(InvalidContentError);
  });
});

describe('parsePlatform', () => {
  it('reads os/architecture[/variant] and nothing else', () => {
    expect(parsePlatform('linux/arm64/v8')).to.deep.equal({ os: 'linux', architecture: 'arm64', variant: 'v8' });
    for (const text of ['', 'linux', 'linux/', 'Linux/amd64', 'linux/amd64/v1/x', 'linux-amd64']) {
      expect(parsePlatform(text), text).to.equal(undefined);
    }
  });

  it('reads back what it is made of', () => {
    fc.assert(
      fc.property(platforms, (platform) => {
        const text = [platform.os, platform.architecture, platform.variant]
          .filter((part) => part !== undefined)
          .join('/');
        expect(parsePlatform(text)).to.deep.equal(platform);
      }),
    );
  });

  it('reads 64 KiB of anything in linear time', () => {
    expectLinear(['a', '0', '/', 'A', '-', ' '], parsePlatform);
  });
});
