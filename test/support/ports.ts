/** Mocks of both outer ports, for cases that a correct fake cannot produce. */
import sinon from 'sinon';
import type { Descriptor, Digest } from '../../src/domain/descriptor.ts';
import { PackageUnknownError } from '../../src/domain/errors.ts';
import type { CredentialProvider } from '../../src/domain/ports/credential-provider.ts';
import type { RegistryGateway } from '../../src/domain/ports/registry-gateway.ts';
import { parseUpstream } from '../../src/domain/upstream.ts';
import type { TestImage, TestIndex } from './image.ts';
import { chunksOf } from './source.ts';

export const UPSTREAM = parseUpstream({ repo: 'registry.example/deckhouse' });

export type StubbedGateway = sinon.SinonStubbedInstance<RegistryGateway>;
export type StubbedCredentials = sinon.SinonStubbedInstance<CredentialProvider>;

/** A gateway with the given images, whose stubs record the calls. */
export function stubGateway(...images: readonly (TestImage | TestIndex)[]): StubbedGateway {
  const manifests = new Map<Digest, Uint8Array>();
  const blobs = new Map<Digest, Uint8Array>();
  const add = ({ digest, manifest, blobs: parts }: TestImage): void => {
    manifests.set(digest, manifest.bytes);
    for (const { descriptor, bytes } of parts) blobs.set(descriptor.digest, bytes);
  };
  for (const image of images) {
    if ('index' in image) {
      manifests.set(image.digest, image.index.bytes);
      image.images.forEach(add);
    } else add(image);
  }
  return {
    knownRefusal: sinon.stub<Parameters<RegistryGateway['knownRefusal']>>().returns(undefined),
    fetchManifest: sinon.stub<Parameters<RegistryGateway['fetchManifest']>>().callsFake(async (_upstream, digest) => {
      const bytes = manifests.get(digest);
      if (bytes === undefined) throw new PackageUnknownError('MANIFEST_UNKNOWN');
      return bytes;
    }),
    fetchBlob: sinon
      .stub<Parameters<RegistryGateway['fetchBlob']>>()
      .callsFake(async (_upstream, { digest }: Descriptor, offset: number) => {
        const bytes = blobs.get(digest);
        if (bytes === undefined) throw new PackageUnknownError('BLOB_UNKNOWN');
        return chunksOf(bytes.subarray(offset), 50_000);
      }),
  };
}

export function stubCredentials(): StubbedCredentials {
  return { resolve: sinon.stub<Parameters<CredentialProvider['resolve']>>().resolves(UPSTREAM) };
}
