import { expect } from 'chai';
import fc from 'fast-check';
import { digestOf } from '../../../src/domain/descriptor.ts';
import { InvalidContentError } from '../../../src/domain/errors.ts';
import { manifestSteps, packageLayer, parseManifest } from '../../../src/domain/manifest.ts';
import { expectLinear, nearMiss, outcome } from '../../support/hostile-text.ts';
import { bytesOf, encode, makeImage } from '../../support/image.ts';

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
const entries = fc.record({
  mediaType: fc.constantFrom(MANIFEST, INDEX),
  digest: fc.uint8Array({ maxLength: 4 }).map(digestOf),
  size: fc.maxSafeNat(),
});
const indexes = fc.record(
  {
    schemaVersion: fc.constant(2),
    mediaType: fc.constant(INDEX),
    manifests: fc.array(fc.tuple(entries, fc.option(platforms, { nil: undefined }))),
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
const ODD_DESCRIPTORS: readonly [what: string, json: unknown][] = [
  ['with a sha512 digest', { ...descriptor, digest: `sha512:${'a'.repeat(128)}` }],
  ['with a size of text', { ...descriptor, size: '1' }],
  ['without a size', { ...descriptor, size: undefined }],
  ['that is null', null],
];
const parse = (text: string) => outcome(() => parseManifest(Buffer.from(text)), InvalidContentError);

describe('parseManifest', () => {
  it('reads a document of 4 MiB in several steps with the same result', () => {
    const layers = Array.from({ length: 999 }, () => ({ ...descriptor, annotations: { a: 'x'.repeat(4000) } }));
    const bytes = encode({ schemaVersion: 2, layers });
    const steps = manifestSteps(bytes);
    let count = 1;
    let step = steps.next();
    for (; step.done !== true; step = steps.next()) count++;
    expect(count).to.be.greaterThan(5);
    expect(step.value).to.deep.equal(parseManifest(bytes));
  });

  it('reads a manifest, whose last layer is the package', () => {
    const image = makeImage([bytesOf(1), bytesOf(2, 2)]);
    const manifest = parseManifest(image.manifest.bytes);
    if (manifest.kind !== 'manifest') throw new Error('not a manifest');
    expect(manifest.layers).to.have.lengthOf(2);
    expect(packageLayer(manifest)).to.deep.equal(image.layer.descriptor);
  });

  it('reads a document without a mediaType by its fields', () => {
    expect(parseManifest(encode({ layers: [descriptor] })).kind).to.equal('manifest');
    expect(parseManifest(encode({ manifests: [descriptor] })).kind).to.equal('index');
  });

  for (const mediaType of [
    'application/vnd.example+json',
    `${MANIFEST}; charset=utf-8`,
    MANIFEST.toUpperCase(),
    'a\r\nb',
  ]) {
    it(`reads a document with the type ${JSON.stringify(mediaType)} by its fields, and returns the matching type`, () => {
      const manifest = parseManifest(encode({ mediaType, layers: [descriptor] }));
      expect(manifest).to.deep.include({ kind: 'manifest', mediaType: MANIFEST, layers: [descriptor] });
      const index = parseManifest(encode({ mediaType, manifests: [descriptor] }));
      expect(index).to.deep.include({ kind: 'index', mediaType: INDEX });
    });
  }

  const refused: [what: string, json: unknown][] = [
    [
      'both manifest and index (CVE-2021-41190)',
      { mediaType: MANIFEST, layers: [descriptor], manifests: [descriptor] },
    ],
    ['a manifest that says it is an index', { mediaType: INDEX, layers: [descriptor] }],
    ['a manifest of schema 1', { mediaType: 'application/vnd.docker.distribution.manifest.v1+json', fsLayers: [] }],
    ['another type beside both', { mediaType: 'a/b', layers: [descriptor], manifests: [descriptor] }],
    ['another type of index beside layers', { mediaType: 'a/b', layers: {}, manifests: [descriptor] }],
    ['a mediaType that is no text', { mediaType: 1, layers: [] }],
    ['neither layers nor manifests', {}],
    ['both, and no type', { layers: [descriptor], manifests: [descriptor] }],
    ['an index that lists layers besides', { mediaType: INDEX, layers: [descriptor], manifests: [] }],
    ['layers that are no list beside manifests', { mediaType: INDEX, layers: {}, manifests: [descriptor] }],
    ['layers that are no list', { layers: {} }],
    ['too many layers', { layers: Array.from({ length: 1001 }, () => descriptor) }],
    ['a layer without a digest', { layers: [{ ...descriptor, digest: undefined }] }],
    ['a layer with another digest', { layers: [{ ...descriptor, digest: 'sha512:aa' }] }],
    ['a size that is text', { layers: [{ ...descriptor, size: '1' }] }],
    ['a negative size', { layers: [{ ...descriptor, size: -1 }] }],
    ['a size beyond whole numbers', { layers: [{ ...descriptor, size: 2 ** 53 }] }],
    ['a layer that is no object', { layers: [null] }],
    ['a list', []],
    ['null', null],
  ];
  for (const [what, json] of refused) {
    it(`refuses ${what}`, () => {
      expect(() => parseManifest(encode(json))).to.throw(InvalidContentError);
    });
  }

  it('refuses invalid JSON', () => {
    expect(() => parseManifest(Buffer.from('<html>'))).to.throw(InvalidContentError);
    expect(() => parseManifest(Uint8Array.of(0xff))).to.throw(InvalidContentError);
  });

  it('reads a manifest with an annotation in Latin-1', () => {
    const text = JSON.stringify({ layers: [descriptor], annotations: { author: 'caf\u00e9' } });
    expect(parseManifest(Buffer.from(text, 'latin1'))).to.deep.include({ layers: [descriptor] });
  });

  it('treats null as an empty list, as Go programs write it, and ignores an empty list of the other kind', () => {
    for (const manifests of [null, []]) {
      for (const mediaType of [MANIFEST, undefined, null, '']) {
        const expected = { kind: 'manifest', mediaType: MANIFEST, config: undefined, layers: [descriptor] };
        expect(parseManifest(encode({ mediaType, layers: [descriptor], manifests }))).to.deep.equal(expected);
      }
      expect(parseManifest(encode({ manifests }))).to.deep.equal({ kind: 'index', mediaType: INDEX, manifests: [] });
    }
    for (const layers of [null, []]) {
      const { kind } = parseManifest(encode({ mediaType: INDEX, layers, manifests: [descriptor] }));
      expect(kind).to.equal('index');
      const empty = { kind: 'manifest', mediaType: MANIFEST, config: undefined, layers: [] };
      expect(parseManifest(encode({ layers }))).to.deep.equal(empty);
    }
  });

  for (const [what, odd] of ODD_DESCRIPTORS) {
    it(`ignores a layer ${what} before the package, but refuses it as the package`, () => {
      const parsed = parseManifest(encode({ layers: [odd, descriptor] }));
      expect(parsed).to.deep.include({ kind: 'manifest', layers: [descriptor] });
      expect(() => parseManifest(encode({ layers: [descriptor, odd] }))).to.throw(InvalidContentError);
    });
  }

  it('skips the entries of an index that it cannot use', () => {
    const manifests = [null, 'text', { digest: 'sha512:aa' }, { ...descriptor, mediaType: MANIFEST }, descriptor];
    const usable = { digest: descriptor.digest, isIndex: false, platform: undefined, role: 'image' };
    expect(parseManifest(encode({ manifests }))).to.deep.include({ manifests: [usable] });
  });

  it('ignores the config, which packages do not need', () => {
    for (const config of [undefined, null, {}, { ...descriptor, digest: 'sha512:aa' }, 'text']) {
      const layers = [descriptor];
      const expected = { kind: 'manifest', mediaType: MANIFEST, config: undefined, layers };
      expect(parseManifest(encode({ mediaType: MANIFEST, config, layers }))).to.deep.equal(expected);
    }
  });

  it('treats __proto__ as an ordinary field', () => {
    const json = Buffer.from(`{"__proto__":{"layers":[]},"mediaType":"${INDEX}","manifests":[]}`);
    expect(parseManifest(json)).to.deep.equal({ kind: 'index', mediaType: INDEX, manifests: [] });
  });

  it('reads documents that follow the specification', () => {
    fc.assert(
      fc.property(manifests, ({ layers, ...rest }) => {
        const { mediaType = MANIFEST, config } = rest;
        const expected = { kind: 'manifest', mediaType, config, layers };
        expect(parseManifest(encode({ ...rest, layers }))).to.deep.equal(expected);
      }),
    );
    fc.assert(
      fc.property(indexes, ({ manifests: listed, ...rest }) => {
        const json = { ...rest, manifests: listed.map(([entry, platform]) => ({ ...entry, platform })) };
        const expected = listed.map(([{ digest, mediaType: type }, platform]) => {
          return { digest, isIndex: type === INDEX, platform, role: 'image' };
        });
        const { mediaType = INDEX } = rest;
        expect(parseManifest(encode(json))).to.deep.equal({ kind: 'index', mediaType, manifests: expected });
      }),
    );
  });

  it('returns a valid document or its one error for any input', () => {
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
        const isIndex = document.kind === 'index';
        for (const { digest } of isIndex ? document.manifests : document.layers) {
          expect(digest).to.match(/^sha256:[0-9a-f]{64}$/);
        }
        for (const { mediaType, size } of isIndex ? [] : document.layers) {
          expect(mediaType).to.match(/^[!-~]+$/);
          expect(Number.isSafeInteger(size) && size >= 0, 'size').to.equal(true);
        }
        expect(Object.keys(Object.prototype)).to.deep.equal([]);
      }),
    );
  });

  it('reads 64 KiB of any text in linear time', () => {
    expectLinear(PIECES, parse);
  });

  for (const [start, end] of [
    ['[', ']'],
    ['{"layers":[', ']}'],
    ['{"manifests":', '}'],
    ['{"__proto__":', '}'],
  ] as const) {
    it(`refuses 4 MiB of nested ${start}`, () => {
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
