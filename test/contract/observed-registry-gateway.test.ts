import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ObservedRegistryGateway } from '../../src/adapters/observers/observed-registry-gateway.ts';
import { OciLayoutGateway } from '../../src/adapters/oci-layout/oci-layout-gateway.ts';
import { OciLayout } from '../support/oci-layout.ts';
import { UPSTREAM } from '../support/ports.ts';
import { describeRegistryGateway } from './registry-gateway.ts';

describeRegistryGateway('ObservedRegistryGateway', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'oci-layout-'));
  const layout = new OciLayout(directory);
  await layout.create();
  return {
    gateway: new ObservedRegistryGateway(new OciLayoutGateway(directory), []),
    upstream: UPSTREAM,
    publish: (image) => layout.add(image),
    close: () => rm(directory, { recursive: true }),
  };
});
