import { NegativeCache } from '../../src/adapters/registry/negative-cache.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';
import { describeRegistryGateway } from './registry-gateway.ts';

describeRegistryGateway('NegativeCache', async () => {
  const registry = await FakeRegistry.start();
  return {
    gateway: new NegativeCache(makeRegistryGateway()),
    upstream: registry.upstream(),
    publish: async (image) => {
      registry.publish(image);
    },
    close: () => registry.close(),
  };
});
