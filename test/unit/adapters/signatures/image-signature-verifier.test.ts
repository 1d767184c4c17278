import { expect } from 'chai';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClaimFolder } from '../../../../src/adapters/signatures/claim-folder.ts';
import { ImageSignatureVerifier } from '../../../../src/adapters/signatures/image-signature-verifier.ts';
import { TrustedKeys } from '../../../../src/adapters/signatures/trusted-keys.ts';
import { digestHex } from '../../../../src/domain/descriptor.ts';
import type { SignatureVerdict } from '../../../../src/domain/ports/signature-verifier.ts';
import { FakeRegistry } from '../../../support/fake-registry.ts';
import { encode, makeBlob, makePackage } from '../../../support/image.ts';
import { makeRegistryGateway } from '../../../support/registry-gateway.ts';
import {
  annotateSignature,
  bundleArtifact,
  bundleOf,
  certify,
  type Claimed,
  makeKeyPair,
  SIGN_PREDICATE,
  type SignatureArtifact,
  SignatureShelf,
  simpleClaim,
  simpleSigning,
} from '../../../support/signing.ts';

const keys = makeKeyPair();
const stranger = makeKeyPair();
const root = certify({ name: 'root', isCa: true });
const image = makePackage(100);
const TAG = `sha256-${digestHex(image.digest)}.sig`;

describe('ImageSignatureVerifier', () => {
  let directory: string;
  let registry: FakeRegistry;
  let shelf: SignatureShelf;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'verifier-'));
    await writeFile(join(directory, 'cosign.pub'), keys.pem);
    await writeFile(join(directory, 'roots.pem'), root.pem);
    registry = await FakeRegistry.start();
    shelf = new SignatureShelf(registry);
  });
  afterEach(async () => {
    await registry.close();
    await rm(directory, { recursive: true });
  });

  function open({ roots = false, claims = false } = {}): ImageSignatureVerifier {
    const gateway = makeRegistryGateway({ retryTimeoutMs: 0, headersTimeoutMs: 500 });
    const files = { keys: join(directory, 'cosign.pub'), roots: roots ? join(directory, 'roots.pem') : '' };
    const trusted = new TrustedKeys({ files, onUnusable: () => undefined });
    const folder = claims ? new ClaimFolder(join(directory, 'claims')) : undefined;
    return new ImageSignatureVerifier({ trusted, gateway, catalog: gateway, claims: folder });
  }

  const verify = (
    verifier = open(),
    { digest, manifest } = image,
    signal = new AbortController().signal,
  ): Promise<SignatureVerdict> =>
    verifier.verify({ digest, bytes: manifest.bytes }, () => Promise.resolve(registry.upstream()), signal);

  const simple = (...claims: Claimed[]): SignatureArtifact => simpleSigning(claims);
  const good = simple(simpleClaim(image.digest, keys));

  function failAt(part: string, status = 500): void {
    registry.script(({ url }, response) => {
      if (!url.includes(part)) return false;
      response.writeHead(status).end();
      return true;
    });
  }

  it('finds one valid signature among those of other keys, other images and other tools', async () => {
    const others = [simpleClaim(image.digest, stranger), simpleClaim(makePackage(2, 2).digest, keys)];
    shelf.tag(image.digest, simple(...others));
    const attestation = bundleArtifact(bundleOf(image.digest, keys, 'https://slsa.dev/provenance/v1'));
    const bundle = bundleArtifact(bundleOf(image.digest, keys));
    shelf.refer(image.digest, [attestation, bundleArtifact(encode({})), bundle]);
    expect(await verify()).to.deep.equal({ kind: 'valid', format: 'cosign', key: keys.fingerprint });
  });

  it('does not accept an attestation as a signature', async () => {
    shelf.refer(image.digest, [bundleArtifact(bundleOf(image.digest, keys, 'https://slsa.dev/provenance/v1'))]);
    expect(await verify()).to.deep.include({ kind: 'invalid' });
  });

  it('reports referrers of other types, and manifests without signatures, as no signature', async () => {
    shelf.tag(image.digest, simple());
    shelf.refer(image.digest, [bundleArtifact(bundleOf(image.digest, keys))], 'api', 'application/spdx+json');
    expect(await verify()).to.deep.include({ kind: 'missing' });
  });

  it('finds the signature of an image that a scan attests each day', async () => {
    const scan = 'https://cosign.sigstore.dev/attestation/vuln/v1';
    const scans = Array.from({ length: 200 }, () => bundleArtifact(bundleOf(image.digest, keys, scan), scan));
    shelf.refer(image.digest, [...scans, bundleArtifact(bundleOf(image.digest, keys), SIGN_PREDICATE)]);
    expect(await verify()).to.deep.include({ kind: 'valid' });
    expect(registry.requests('/blobs/')).to.have.lengthOf(1);
  });

  it('does not accept an attestation that is annotated as a signature', async () => {
    const attestation = bundleOf(image.digest, keys, 'https://slsa.dev/provenance/v1');
    shelf.refer(image.digest, [bundleArtifact(attestation, SIGN_PREDICATE)]);
    expect(await verify()).to.deep.include({ kind: 'invalid' });
  });

  it('reads a bundle whose listed type is that of its empty config', async () => {
    shelf.refer(
      image.digest,
      [bundleArtifact(bundleOf(image.digest, keys))],
      'tag',
      'application/vnd.oci.empty.v1+json',
    );
    expect(await verify()).to.deep.include({ kind: 'valid' });
  });

  it('reads at most 32 of a thousand signatures', async () => {
    shelf.tag(image.digest, simple(...Array.from({ length: 1000 }, () => simpleClaim(image.digest, stranger))));
    const verdict = await verify();
    expect(verdict).to.deep.include({ kind: 'invalid', reason: 'no trusted key made one of the first 32 signatures' });
    expect(registry.requests('/blobs/')).to.have.lengthOf(32);
  });

  it('reads no signature of more than 256 KiB, also if the registry or the manifest states less', async () => {
    const payload = new Uint8Array(300_000);
    shelf.tag(image.digest, simple({ payload, signature: '' }));
    expect(await verify()).to.deep.include({
      kind: 'invalid',
      reason: 'signature of cosign: it has more than 262144 bytes',
    });
    expect(registry.requests('/blobs/')).to.deep.equal([]);
    const honest = makeBlob('application/vnd.dev.cosign.simplesigning.v1+json', new Uint8Array(10));
    const layers = [{ ...honest.descriptor, annotations: { 'dev.cosignproject.cosign/signature': 'AAAA' } }];
    const manifest = makeBlob('application/vnd.oci.image.manifest.v1+json', encode({ schemaVersion: 2, layers }));
    shelf.tag(image.digest, { manifest, blobs: [{ ...honest, bytes: payload }] });
    expect(await verify()).to.deep.include({ kind: 'unavailable' });
  });

  it('accepts no claim and no manifest with a wrong digest', async () => {
    const [blob] = good.blobs.slice(1);
    registry.script(({ url }, response) => {
      if (blob === undefined || !url.endsWith(blob.descriptor.digest)) return false;
      response.end(simpleClaim(image.digest, stranger).payload.fill(32, 0, 1));
      return true;
    });
    shelf.tag(image.digest, good);
    expect(await verify()).to.deep.include({ kind: 'unavailable' });
    shelf.remove();
    const bundle = bundleArtifact(bundleOf(image.digest, stranger));
    shelf.refer(image.digest, [bundle]);
    registry.script(({ url }, response) => {
      if (!url.endsWith(bundle.manifest.descriptor.digest)) return false;
      response.end(bundleArtifact(bundleOf(image.digest, keys)).manifest.bytes);
      return true;
    });
    expect(await verify()).to.deep.include({ kind: 'unavailable' });
  });

  for (const [what, part] of [
    ['the tag', TAG],
    ['the list of referrers', '/referrers/'],
    ['the claim', '/blobs/'],
  ] as const) {
    it(`reports "unavailable" with the cause when the registry fails at ${what}`, async () => {
      failAt(part);
      const signer = part === '/blobs/' ? keys : stranger;
      if (part !== TAG) shelf.tag(image.digest, simple(simpleClaim(image.digest, signer)));
      const verdict = await verify();
      expect(verdict).to.deep.include({ kind: 'unavailable' });
      expect(verdict)
        .to.have.property('reason')
        .that.matches(/status 500/);
    });
  }

  it('finds the signature after a part that fails', async () => {
    failAt(TAG);
    shelf.refer(image.digest, [bundleArtifact(bundleOf(image.digest, keys))]);
    expect(await verify()).to.deep.include({ kind: 'valid' });
  });

  it('ends with its signal when a registry does not answer', async () => {
    registry.script(({ url }) => url.includes(TAG));
    const verdict = await verify(undefined, undefined, AbortSignal.timeout(100));
    expect(verdict).to.deep.include({ kind: 'unavailable' });
  });

  it('reports "unavailable" if no registry is configured', async () => {
    const upstream = (): Promise<never> => Promise.reject(new Error('not known'));
    const document = { digest: image.digest, bytes: image.manifest.bytes };
    expect(await open().verify(document, upstream, new AbortController().signal)).to.deep.equal({
      kind: 'unavailable',
      reason: 'signature of cosign: not known',
    });
  });

  it('accepts either a signature in annotations or one of cosign', async () => {
    const leaf = certify({ name: 'signer', issuer: root });
    const annotated = annotateSignature(image, { leaf });
    expect(await verify(open({ roots: true }), annotated)).to.deep.include({ kind: 'valid', format: 'annotation' });
    expect(registry.log).to.deep.equal([]);
    const forged = annotateSignature(image, {
      leaf: certify({ name: 'signer', issuer: certify({ name: 'root', isCa: true }) }),
    });
    expect(await verify(open({ roots: true }), forged)).to.deep.include({ kind: 'invalid' });
    shelf.tag(forged.digest, simple(simpleClaim(forged.digest, keys)));
    expect(await verify(open({ roots: true }), forged)).to.deep.include({ kind: 'valid', format: 'cosign' });
    expect(await verify(open({ roots: true }))).to.deep.include({ kind: 'missing' });
  });

  it('stores the claim that verified an image, and asks no registry after a restart', async () => {
    shelf.tag(image.digest, good);
    expect(await verify(open({ claims: true }))).to.deep.include({ kind: 'valid' });
    const asked = registry.log.length;
    expect(await verify(open({ claims: true }))).to.deep.include({ kind: 'valid' });
    expect(registry.log).to.have.lengthOf(asked);
    await writeFile(join(directory, 'cosign.pub'), stranger.pem);
    expect(await verify(open({ claims: true }))).to.deep.include({ kind: 'invalid' });
    expect(registry.log.length).to.be.greaterThan(asked);
  });

  it('stores nothing for an unsigned image, and verifies claims that another program has written', async () => {
    shelf.tag(image.digest, simple(simpleClaim(image.digest, stranger)));
    await verify(open({ claims: true }));
    expect(await readdir(directory)).not.to.include('claims');
    const other = makePackage(2, 2);
    shelf.tag(other.digest, simple(simpleClaim(other.digest, keys)));
    await verify(open({ claims: true }), other);
    const claim = await readFile(join(directory, 'claims', digestHex(other.digest)));
    await writeFile(join(directory, 'claims', digestHex(image.digest)), claim);
    expect(await verify(open({ claims: true }))).to.deep.include({ kind: 'invalid' });
  });
});
