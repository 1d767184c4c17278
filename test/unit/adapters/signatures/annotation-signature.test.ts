import { expect } from 'chai';
import { X509Certificate } from 'node:crypto';
import { verifyAnnotations } from '../../../../src/adapters/signatures/annotation-signature.ts';
import { bytesOf, encode, makeImage, makeIndex, type TestImage } from '../../../support/image.ts';
import { annotateSignature, annotatedText, certify, type ManifestFields, signBytes } from '../../../support/signing.ts';

const root = certify({ name: 'root', isCa: true });
const between = certify({ name: 'between', isCa: true, issuer: root });
const leaf = certify({ name: 'signer', issuer: between });
const signer = { leaf, chain: [between] };
const image = makeImage([bytesOf(10), bytesOf(1234, 2)]);
const DIGEST = `sha256:${'0'.repeat(64)}`;

const verify = ({ manifest }: Pick<TestImage, 'manifest'>): ReturnType<typeof verifyAnnotations> =>
  verifyAnnotations(manifest.bytes, [new X509Certificate(root.pem)]);

describe('a signature in the annotations of a manifest', () => {
  it('is valid for the manifest with its other annotations', () => {
    const signed = annotateSignature(image, signer, { version: 'v1.2.3', Z: '', ä: 'ö' });
    expect(verify(signed)).to.deep.equal({ kind: 'valid', format: 'annotation', key: leaf.keys.fingerprint });
  });

  it('is read also with its earlier names, and without a chain', () => {
    expect(verify(annotateSignature(image, { ...signer, prefix: 'io.deckhouse.deliverykit.' })).kind).to.equal('valid');
    expect(verify(annotateSignature(image, { leaf: certify({ name: 'signer', issuer: root }) })).kind).to.equal(
      'valid',
    );
  });

  it('signs exactly the text in its description', () => {
    const config = { digest: DIGEST, mediaType: 'application/c', size: 7 };
    const layers = [{ digest: DIGEST, mediaType: 'application/l', size: 12 }];
    const fields: ManifestFields = {
      schemaVersion: 2,
      mediaType: 'application/m',
      config,
      layers,
      annotations: { b: '2', a: '1' },
    };
    // SHA-256 of "2application/m" DIGEST "application/c7" DIGEST "application/l12" "a1b2", by sha256sum.
    expect(annotatedText(fields)).to.equal('efa1e7f3f8f41e4051387ef3f7a3f132edc0b51dd770d7a20eba4b7b3f33c0be');
    const signature = signBytes(Buffer.from(annotatedText(fields)), leaf.keys);
    const annotations = {
      ...fields.annotations,
      'io.deckhouse.delivery-kit.signature': signature,
      'io.deckhouse.delivery-kit.cert': Buffer.from(leaf.pem).toString('base64'),
      'io.deckhouse.delivery-kit.chain': Buffer.from(between.pem).toString('base64'),
    };
    const bytes = encode({ ...fields, annotations });
    expect(verifyAnnotations(bytes, [new X509Certificate(root.pem)]).kind).to.equal('valid');
  });

  it('is missing in an image without one, in an index, and if it was removed', () => {
    expect(verify(image).kind).to.equal('missing');
    const { index } = makeIndex([{ image, platform: { os: 'linux', architecture: 'amd64' } }]);
    expect(verify({ manifest: index }).kind).to.equal('missing');
    const stripped = annotateSignature(image, signer, {}, (manifest) => {
      delete manifest.annotations;
    });
    expect(verify(stripped).kind).to.equal('missing');
  });

  const annotate =
    (name: string, value: string) =>
    ({ annotations = {} }: ManifestFields): void => {
      annotations[name.startsWith('.') ? `io.deckhouse.delivery-kit${name}` : name] = value;
    };
  const layer =
    (fields: Partial<Record<keyof ManifestFields['config'], unknown>>) =>
    ({ layers }: ManifestFields): void => {
      Object.assign(layers[0] ?? {}, fields);
    };
  const manifest =
    (fields: Partial<Record<keyof ManifestFields, unknown>>) =>
    (whole: ManifestFields): void => {
      Object.assign(whole, fields);
    };
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const CHANGES: readonly [what: string, change: (manifest: ManifestFields) => void, reason: RegExp][] = [
    ['another layer', layer({ digest: DIGEST }), /does not match this manifest/],
    ['another size of a layer', layer({ size: 11 }), /does not match this manifest/],
    ['one layer less', ({ layers }) => void layers.pop(), /does not match this manifest/],
    ['its layers in another order', ({ layers }) => void layers.reverse(), /does not match this manifest/],
    ['another config', ({ config }) => void Object.assign(config, { digest: DIGEST }), /does not match this manifest/],
    ['an annotation more', annotate('x', 'y'), /does not match this manifest/],
    ['another mediaType', manifest({ mediaType: 'application/x' }), /does not match this manifest/],
    [
      'the last layer told as an annotation',
      ({ layers, annotations = {} }) => {
        const last = layers.pop();
        if (last !== undefined) annotations[`${last.digest}${last.mediaType}`] = String(last.size);
      },
      /looks like a layer/,
    ],
    ['no certificate', annotate('.cert', ''), /has no certificate/],
    ['bytes that are none', annotate('.cert', 'AAAA'), /cannot be read/],
    ['no chain', annotate('.chain', ''), /leads to no trusted root/],
    ['a chain without end', annotate('.chain', base64(between.pem.repeat(17))), /more than 16 certificates/],
    [
      'a chain of nonsense',
      annotate('.chain', base64('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----')),
      /chain cannot be read/,
    ],
    ['an empty signature', annotate('.signature', ''), /does not match this manifest/],
    ['no layers', manifest({ layers: undefined }), /no list of layers/],
    ['a media type that holds a digest', layer({ mediaType: `a/b${DIGEST}` }), /no media type/],
    ['a size that is no number', layer({ size: '10' }), /not an integer/],
    ['a descriptor without a digest', layer({ digest: 'sha256:' }), /no digest/],
    ['an annotation that is no text', manifest({ annotations: { x: 7 } }), /no text/],
    ['a mediaType that is none', manifest({ mediaType: 'm' }), /mediaType is none/],
  ];
  for (const [what, change, reason] of CHANGES) {
    it(`is refused for a manifest that has ${what}`, () => {
      const verdict = verify(annotateSignature(image, signer, {}, change));
      expect(verdict.kind).to.equal('invalid');
      expect(verdict).to.have.property('reason').that.matches(reason);
    });
  }

  it('is refused for another root, for a key that is not in the certificate, and with a certificate for transparency logs', () => {
    const stranger = certify({ name: 'root', isCa: true });
    expect(
      verifyAnnotations(annotateSignature(image, signer).manifest.bytes, [new X509Certificate(stranger.pem)]).kind,
    ).to.equal('invalid');
    const forged = annotateSignature(image, { ...signer, leaf: { ...leaf, keys: stranger.keys } });
    expect(verify(forged))
      .to.have.property('reason')
      .that.matches(/does not match this manifest/);
    const logged = certify({ name: 'signer', issuer: root, hasScts: true });
    expect(verify(annotateSignature(image, { leaf: logged })))
      .to.have.property('reason')
      .that.matches(/transparency/);
  });

  it('stays valid after the expiry of its certificate', () => {
    const [from, to] = [new Date(Date.UTC(2021, 0)), new Date(Date.UTC(2022, 0))];
    const ended = certify({ name: 'signer', issuer: root, from, to });
    expect(verify(annotateSignature(image, { leaf: ended })).kind).to.equal('valid');
  });

  it('is refused for bytes that are not a manifest', () => {
    expect(verify({ manifest: { ...image.manifest, bytes: Buffer.from('[') } }).kind).to.equal('invalid');
  });
});
