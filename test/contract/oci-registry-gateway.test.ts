import { FakeRegistry, type FakeRegistryOptions } from '../support/fake-registry.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';
import { describeRegistryGateway } from './registry-gateway.ts';

const variants: [what: string, options: FakeRegistryOptions][] = [
  ['HTTP', {}],
  ['HTTP with a password', { auth: 'basic' }],
  ['HTTPS with tokens', { auth: 'bearer', tls: 'localhost' }],
];
for (const [what, options] of variants) {
  describeRegistryGateway(`OciRegistryGateway over ${what}`, async () => {
    const registry = await FakeRegistry.start(options);
    return {
      gateway: makeRegistryGateway(),
      upstream: registry.upstream(),
      publish: async (image) => {
        registry.publish(image);
      },
      close: () => registry.close(),
    };
  });
}
