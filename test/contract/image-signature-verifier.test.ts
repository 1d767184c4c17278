import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClaimFolder } from '../../src/adapters/signatures/claim-folder.ts';
import { ImageSignatureVerifier } from '../../src/adapters/signatures/image-signature-verifier.ts';
import { TrustedKeys } from '../../src/adapters/signatures/trusted-keys.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import type { TestImage } from '../support/image.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';
import {
  annotateSignature,
  bundleArtifact,
  bundleOf,
  certify,
  makeKeyPair,
  type ManifestFields,
  type SignatureArtifact,
  SignatureShelf,
  simpleClaim,
  simpleSigning,
} from '../support/signing.ts';
import { encode, makeBlob } from '../support/image.ts';
import { describeSignatureVerifier, type VerifierUnderTest } from './signature-verifier.ts';

interface Ways {
  sign(image: TestImage, shelf: SignatureShelf): TestImage;
  signByStranger(image: TestImage, shelf: SignatureShelf): TestImage;
  copySignature(from: TestImage, to: TestImage, shelf: SignatureShelf): TestImage;
}

async function makePeer(file: 'keys' | 'roots', pem: string, other: string, ways: Ways): Promise<VerifierUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'signatures-'));
  const registry = await FakeRegistry.start({ auth: 'bearer' });
  const path = join(directory, 'trusted.pem');
  await writeFile(path, pem);
  let now = 0;
  const files = { keys: '', roots: '', [file]: path };
  const trusted = new TrustedKeys({
    files,
    onUnusable: (error) => {
      expect.fail(error.message);
    },
    now: () => now,
  });
  const gateway = makeRegistryGateway();
  const claims = new ClaimFolder(join(directory, 'claims'));
  const shelf = new SignatureShelf(registry);
  const publish = (image: TestImage): Promise<TestImage> => {
    registry.publish(image);
    return Promise.resolve(image);
  };
  return {
    verifier: new ImageSignatureVerifier({ trusted, gateway, catalog: gateway, claims }),
    upstream: registry.upstream(),
    sign: (image) => publish(ways.sign(image, shelf)),
    signByStranger: (image) => publish(ways.signByStranger(image, shelf)),
    copySignature: (from, to) => publish(ways.copySignature(from, to, shelf)),
    replaceKeys: async () => {
      await writeFile(path, other);
      now += 1000;
    },
    close: async () => {
      await registry.close();
      await rm(directory, { recursive: true });
    },
  };
}

const root = certify({ name: 'root', isCa: true });
const between = certify({ name: 'between', isCa: true, issuer: root });
const leaf = certify({ name: 'signer', issuer: between });
const stranger = certify({ name: 'root', isCa: true });
const strangersLeaf = certify({ name: 'signer', issuer: stranger });

describeSignatureVerifier('ImageSignatureVerifier (annotations)', () =>
  makePeer('roots', root.pem, stranger.pem, {
    sign: (image) => annotateSignature(image, { leaf, chain: [between, root] }),
    signByStranger: (image) => annotateSignature(image, { leaf: strangersLeaf }),
    copySignature: (from, to) => {
      const manifest = (image: TestImage): ManifestFields =>
        JSON.parse(Buffer.from(image.manifest.bytes).toString()) as ManifestFields;
      const { annotations = {} } = manifest(from);
      const blob = makeBlob(to.manifest.descriptor.mediaType, encode({ ...manifest(to), annotations }));
      return { ...to, digest: blob.descriptor.digest, manifest: blob };
    },
  }),
);

const [keys, others] = [makeKeyPair(), makeKeyPair()];

function cosignWays(
  make: (image: TestImage, by: typeof keys) => SignatureArtifact,
  put: (shelf: SignatureShelf, image: TestImage, artifact: SignatureArtifact) => void,
): Ways {
  return {
    sign: (image, shelf) => {
      put(shelf, image, make(image, keys));
      return image;
    },
    signByStranger: (image, shelf) => {
      put(shelf, image, make(image, others));
      return image;
    },
    copySignature: (from, to, shelf) => {
      put(shelf, to, make(from, keys));
      return to;
    },
  };
}

const simple = ({ digest }: TestImage, by: typeof keys): SignatureArtifact => simpleSigning([simpleClaim(digest, by)]);
const bundle = ({ digest }: TestImage, by: typeof keys): SignatureArtifact => bundleArtifact(bundleOf(digest, by));
const SIGNATURE_TYPE = 'application/vnd.dev.cosign.artifact.sig.v1+json';

const COSIGN: readonly [name: string, ways: Ways][] = [
  [
    'simple signing under a tag',
    cosignWays(simple, (shelf, { digest }, artifact) => {
      shelf.tag(digest, artifact);
    }),
  ],
  [
    'simple signing among referrers',
    cosignWays(simple, (shelf, { digest }, artifact) => {
      shelf.refer(digest, [artifact], 'api', SIGNATURE_TYPE);
    }),
  ],
  [
    'bundle among referrers',
    cosignWays(bundle, (shelf, { digest }, artifact) => {
      shelf.refer(digest, [artifact]);
    }),
  ],
  [
    "bundle under the referrers' tag",
    cosignWays(bundle, (shelf, { digest }, artifact) => {
      shelf.refer(digest, [artifact], 'tag');
    }),
  ],
];

for (const [name, ways] of COSIGN) {
  describeSignatureVerifier(`ImageSignatureVerifier (${name})`, () => makePeer('keys', keys.pem, others.pem, ways));
}
