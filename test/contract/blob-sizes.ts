/** The contract of BlobSizes: what every adapter of it promises. */
import { expect } from 'chai';
import { PackageUnknownError } from '../../src/domain/errors.ts';
import type { BlobSizes } from '../../src/domain/ports/registry-gateway.ts';
import type { Upstream } from '../../src/domain/upstream.ts';
import { makeImage, makePackage, type TestImage } from '../support/image.ts';
import { rejection } from '../support/rejection.ts';

export interface SizesUnderTest {
  readonly sizes: BlobSizes;
  readonly upstream: Upstream;
  publish(image: TestImage): Promise<void> | void;
  close(): Promise<void>;
}

const never = new AbortController().signal;

export function describeBlobSizes(name: string, make: () => Promise<SizesUnderTest>): void {
  describe(`${name} is a BlobSizes that`, () => {
    let peer: SizesUnderTest;
    beforeEach(async () => {
      peer = await make();
    });
    afterEach(() => peer.close());

    it('returns the size of each blob of an image, also of an empty blob', async () => {
      const image = makeImage([new Uint8Array(), new Uint8Array(70_000)]);
      await peer.publish(image);
      for (const { descriptor } of image.blobs) {
        expect(await peer.sizes.blobSize(peer.upstream, descriptor.digest, never)).to.equal(descriptor.size);
      }
    });

    it('rejects with PackageUnknownError for a missing blob', async () => {
      const { layer } = makePackage(10);
      const error = await rejection(peer.sizes.blobSize(peer.upstream, layer.descriptor.digest, never));
      expect(error).to.be.instanceOf(PackageUnknownError);
      expect(error).to.include({ code: 'BLOB_UNKNOWN' });
    });

    it('rejects with the reason of its signal', async () => {
      const reason = new Error('the client has left');
      const { digest } = makePackage(10).layer.descriptor;
      expect(await rejection(peer.sizes.blobSize(peer.upstream, digest, AbortSignal.abort(reason)))).to.equal(reason);
    });
  });
}
