/** The contract of SignatureVerifier: what every adapter of it promises, over registries that misbehave. */
import { expect } from 'chai';
import type { SignatureVerdict, SignatureVerifier } from '../../src/domain/ports/signature-verifier.ts';
import type { Upstream } from '../../src/domain/upstream.ts';
import { makePackage, type TestImage } from '../support/image.ts';

export interface VerifierUnderTest {
  readonly verifier: SignatureVerifier;
  readonly upstream: Upstream;
  /** Signs the image by a trusted key, and resolves with the image as it is published then. */
  sign(image: TestImage): Promise<TestImage>;
  /** Signs as `sign` does, with a key that is not trusted. */
  signByStranger(image: TestImage): Promise<TestImage>;
  /** Publishes an image with the signature of another one. */
  copySignature(from: TestImage, to: TestImage): Promise<TestImage>;
  /** Replaces the trusted key by another one. */
  replaceKeys(): Promise<void>;
  close(): Promise<void>;
}

const never = new AbortController().signal;

export function describeSignatureVerifier(name: string, make: () => Promise<VerifierUnderTest>): void {
  describe(`${name} is a SignatureVerifier that`, () => {
    let peer: VerifierUnderTest;
    beforeEach(async () => {
      peer = await make();
    });
    afterEach(() => peer.close());

    const verify = ({ digest, manifest: { bytes } }: TestImage, signal = never): Promise<SignatureVerdict> =>
      peer.verifier.verify({ digest, bytes }, () => Promise.resolve(peer.upstream), signal);

    it('accepts the signature of a trusted key, and returns the name of the key', async () => {
      const verdict = await verify(await peer.sign(makePackage(100)));
      expect(verdict).to.have.property('kind', 'valid');
      expect(verdict)
        .to.have.property('key')
        .that.matches(/^[0-9a-f]{64}$/);
    });

    it('reports a missing signature', async () => {
      expect(await verify(makePackage(100))).to.have.property('kind', 'missing');
    });

    it('refuses the signature of an unknown key', async () => {
      expect(await verify(await peer.signByStranger(makePackage(100)))).to.have.property('kind', 'invalid');
    });

    it('refuses the signature of another image', async () => {
      const signed = await peer.sign(makePackage(100));
      const other = await peer.copySignature(signed, makePackage(200, 2));
      expect(await verify(other)).to.have.property('kind', 'invalid');
    });

    it('returns the same name for the same keys, and another name for other keys', async () => {
      const before = await peer.verifier.keys();
      expect(await peer.verifier.keys()).to.equal(before);
      await peer.replaceKeys();
      expect(await peer.verifier.keys()).not.to.equal(before);
    });

    it('refuses the signature of a key that is no longer trusted', async () => {
      const signed = await peer.sign(makePackage(100));
      expect(await verify(signed)).to.have.property('kind', 'valid');
      await peer.replaceKeys();
      expect(await verify(signed)).to.have.property('kind', 'invalid');
    });

    it('reports a missing signature for a document that is not a manifest', async () => {
      const bytes = Buffer.from('no manifest');
      const { digest } = makePackage(100);
      const upstream = (): Promise<Upstream> => Promise.resolve(peer.upstream);
      expect((await peer.verifier.verify({ digest, bytes }, upstream, never)).kind).to.be.oneOf(['missing', 'invalid']);
    });
  });
}
