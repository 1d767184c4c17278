import { expect } from 'chai';
import { type CosignClaim, verifyClaim } from '../../../../src/adapters/signatures/cosign-claim.ts';
import { parsePublicKey } from '../../../../src/adapters/signatures/public-key.ts';
import { encode, makePackage } from '../../../support/image.ts';
import { bundleOf, makeKeyPair, signBytes, simpleClaim } from '../../../support/signing.ts';

const { digest } = makePackage(1);
const other = makePackage(2, 2).digest;
const [keys, stranger] = [makeKeyPair(), makeKeyPair()];
const trusted = [parsePublicKey(makeKeyPair('rsa').pem), parsePublicKey(keys.pem)];

const verify = (claim: CosignClaim): string => verifyClaim(claim, digest, trusted).fingerprint;
const simple = ({ payload, signature }: ReturnType<typeof simpleClaim>): CosignClaim => ({
  kind: 'simple-signing',
  payload,
  signature,
});
const bundle = (bytes: Uint8Array): CosignClaim => ({ kind: 'bundle', bundle: bytes });
const signed = (payload: Uint8Array): CosignClaim => simple({ payload, signature: signBytes(payload, keys) });
const altered = (change: (envelope: Record<string, unknown>) => void): CosignClaim => {
  const json = JSON.parse(Buffer.from(bundleOf(digest, keys)).toString()) as { dsseEnvelope: Record<string, unknown> };
  change(json.dsseEnvelope);
  return bundle(encode(json));
};

describe('a claim of cosign', () => {
  it('is verified by the key that made it, in both formats', () => {
    expect(verify(simple(simpleClaim(digest, keys)))).to.equal(keys.fingerprint);
    expect(verify(bundle(bundleOf(digest, keys)))).to.equal(keys.fingerprint);
  });

  it('is verified in a bundle with the hash that belongs to the curve', () => {
    const large = makeKeyPair('P-384');
    const claim = bundle(bundleOf(digest, large, undefined, 'sha384'));
    expect(verifyClaim(claim, digest, [parsePublicKey(large.pem)]).fingerprint).to.equal(large.fingerprint);
  });

  it('is refused for an unknown key', () => {
    expect(() => verify(simple(simpleClaim(digest, stranger)))).to.throw('no trusted key verifies it');
    expect(() => verify(bundle(bundleOf(digest, stranger)))).to.throw('no trusted key verifies it');
  });

  it('is refused for another image', () => {
    expect(() => verify(simple(simpleClaim(other, keys)))).to.throw('it is the signature of another image');
    expect(() => verify(bundle(bundleOf(other, keys)))).to.throw('it is the signature of another image');
  });

  it('is refused if its text is changed', () => {
    const { signature } = simpleClaim(digest, keys);
    expect(() => verify(simple({ payload: simpleClaim(other, keys).payload, signature }))).to.throw('no trusted key');
    const { payload } = simpleClaim(other, keys);
    const envelope = altered((fields) => (fields['payload'] = Buffer.from(payload).toString('base64')));
    expect(() => verify(envelope)).to.throw('no trusted key');
  });

  it('is not confused with an attestation of the same key', () => {
    const attestation = bundle(bundleOf(digest, keys, 'https://slsa.dev/provenance/v1'));
    expect(() => verify(attestation)).to.throw('it is not a signature of an image');
    const statement = { ...(JSON.parse(Buffer.from(simpleClaim(digest, keys).payload).toString()) as object) };
    const atomic = encode({
      critical: { ...(statement as { critical: object }).critical, type: 'atomic container signature' },
    });
    expect(() => verify(signed(atomic))).to.throw('it is not a signature of an image');
  });

  it('is refused if its signed text has no image', () => {
    for (const payload of ['{}', '[]', '7', '{"critical":7}', '{"critical":{"image":{}}}', 'no json']) {
      expect(() => verify(signed(Buffer.from(payload))), payload).to.throw();
    }
  });

  it('is refused in a bundle without a statement', () => {
    for (const text of ['', '[]', '{}', '{"dsseEnvelope":7}', '{"dsseEnvelope":{}}', '{"messageSignature":{}}']) {
      expect(() => verify(bundle(Buffer.from(text))), text).to.throw();
    }
    expect(() => verify(altered((fields) => (fields['payloadType'] = 'text/plain')))).to.throw('no statement');
    expect(() => verify(altered((fields) => (fields['signatures'] = [])))).to.throw('no trusted key');
    expect(() => verify(altered((fields) => (fields['signatures'] = [{ sig: 7 }])))).to.throw('no trusted key');
    const many = Array.from({ length: 4 }, () => ({ sig: 'AAAA' }));
    expect(() =>
      verify(altered((fields) => (fields['signatures'] = [...many, ...(fields['signatures'] as [])]))),
    ).to.throw('no trusted key');
  });
});
