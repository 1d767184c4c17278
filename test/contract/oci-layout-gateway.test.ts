import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ObservedRegistryGateway } from '../../src/adapters/observers/observed-ports.ts';
import { OciLayoutGateway } from '../../src/adapters/oci-layout/oci-layout-gateway.ts';
import { type Digest, digestHex } from '../../src/domain/descriptor.ts';
import { OciLayout } from '../support/oci-layout.ts';
import { UPSTREAM } from '../support/ports.ts';
import { describeRegistryGateway, type GatewayUnderTest } from './registry-gateway.ts';

async function layout(): Promise<GatewayUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'oci-layout-'));
  const images = new OciLayout(directory);
  await images.create();
  const replace = (digest: Digest, bytes: Uint8Array): Promise<void> =>
    writeFile(join(directory, 'blobs/sha256', digestHex(digest)), bytes);
  return {
    gateway: new OciLayoutGateway(directory),
    upstream: UPSTREAM,
    publish: (image) => images.add(image),
    misbehave: {
      'unbounded manifest': ({ digest }) => replace(digest, Buffer.alloc(5 << 20, ' ')),
      'short blob': ({ layer }) => replace(layer.descriptor.digest, layer.bytes.subarray(1)),
      'long blob': ({ layer }) => replace(layer.descriptor.digest, Buffer.concat([layer.bytes, layer.bytes])),
    },
    close: () => rm(directory, { recursive: true }),
  };
}

describeRegistryGateway('OciLayoutGateway', layout);
describeRegistryGateway('ObservedRegistryGateway', async () => {
  const peer = await layout();
  return { ...peer, gateway: new ObservedRegistryGateway(peer.gateway, []) };
});
