import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageArchive } from '../../src/adapters/oci-layout/image-archive.ts';
import { makePackage, type TestBlob, type TestImage } from '../support/image.ts';
import { layoutArchive, listedImage } from '../support/image-archive.ts';
import { UPSTREAM } from '../support/ports.ts';
import { describeRegistryGateway } from './registry-gateway.ts';

describeRegistryGateway('ImageArchive', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'image-archive-'));
  const path = join(directory, 'images.tar');
  // An archive without an image is invalid.
  const images: TestImage[] = [makePackage(1, 77)];
  let archive: ImageArchive | undefined;
  /** An archive is read as it is when it is opened. */
  const reopen = async (): Promise<ImageArchive> => {
    archive?.close();
    await writeFile(path, layoutArchive(...images.map((image) => listedImage(image))));
    archive = await ImageArchive.open(path, new AbortController().signal);
    return archive;
  };
  const publish = async (...published: readonly TestImage[]): Promise<void> => {
    images.push(...published);
    peer.gateway = await reopen();
  };
  const replace = (image: TestImage, blob: 'manifest' | 'layer', bytes: Uint8Array): Promise<void> => {
    const other: TestBlob = { ...image[blob], bytes };
    return publish({ ...image, [blob]: other, blobs: blob === 'layer' ? [other] : image.blobs });
  };
  const peer = {
    gateway: await reopen(),
    upstream: UPSTREAM,
    publish: (image: TestImage) => publish(image),
    misbehave: {
      'unbounded manifest': (image: TestImage) => replace(image, 'manifest', Buffer.alloc(5 << 20, ' ')),
      'short blob': (image: TestImage) => replace(image, 'layer', image.layer.bytes.subarray(1)),
      'long blob': (image: TestImage) => replace(image, 'layer', Buffer.concat([image.layer.bytes, image.layer.bytes])),
    },
    close: async () => {
      archive?.close();
      await rm(directory, { recursive: true });
    },
  };
  return peer;
});
