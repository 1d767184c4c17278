import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OciLayoutGateway } from '../../src/adapters/oci-layout/oci-layout-gateway.ts';
import { FakeBucket } from '../support/fake-bucket.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { OciLayout } from '../support/oci-layout.ts';
import { UPSTREAM } from '../support/ports.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';
import { makeBucket, makeS3Gateway } from '../support/s3-gateway.ts';
import { describeBlobSizes } from './blob-sizes.ts';

describeBlobSizes('OciRegistryGateway', async () => {
  const registry = await FakeRegistry.start({ auth: 'bearer' });
  return {
    sizes: makeRegistryGateway(),
    upstream: registry.upstream(),
    publish: (image) => {
      registry.publish(image);
    },
    close: () => registry.close(),
  };
});

describeBlobSizes('OciLayoutGateway', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'oci-layout-'));
  const images = new OciLayout(directory);
  await images.create();
  return {
    sizes: new OciLayoutGateway(directory),
    upstream: UPSTREAM,
    publish: (image) => images.add(image),
    close: () => rm(directory, { recursive: true }),
  };
});

describeBlobSizes('S3Gateway', async () => {
  const bucket = await FakeBucket.start();
  return {
    sizes: makeS3Gateway(makeBucket({ endpoint: bucket.endpoint })),
    upstream: UPSTREAM,
    publish: (image) => {
      bucket.publish(image);
    },
    close: () => bucket.close(),
  };
});
