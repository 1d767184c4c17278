import { NegativeCache } from '../../src/adapters/registry/negative-cache.ts';
import { startMisbehavingRegistry } from '../support/misbehaving-registry.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';
import { describeRegistryGateway } from './registry-gateway.ts';

describeRegistryGateway('NegativeCache', async () => {
  const { registry, misbehave } = await startMisbehavingRegistry();
  const gateway = makeRegistryGateway({ headersTimeoutMs: 200, idleTimeoutMs: 200, retryTimeoutMs: 400 });
  return {
    gateway: new NegativeCache(gateway),
    upstream: registry.upstream(),
    publish: async (image) => {
      registry.publish(image);
    },
    misbehave,
    close: () => registry.close(),
  };
});
