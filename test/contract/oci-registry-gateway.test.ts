import type { FakeRegistryOptions } from '../support/fake-registry.ts';
import { startMisbehavingRegistry } from '../support/misbehaving-registry.ts';
import { makeRegistryGateway } from '../support/registry-gateway.ts';
import { describeRegistryGateway } from './registry-gateway.ts';

const variants: [what: string, options: FakeRegistryOptions][] = [
  ['HTTP', {}],
  ['HTTP with a password', { auth: 'basic' }],
  ['HTTPS with tokens', { auth: 'bearer', tls: 'localhost' }],
];
// A busy machine takes more than 200 ms for the 4 MiB of a manifest.
const timeouts = { headersTimeoutMs: 1000, idleTimeoutMs: 1000, retryTimeoutMs: 400 };
for (const [what, options] of variants) {
  describeRegistryGateway(`OciRegistryGateway over ${what}`, async () => {
    const { registry, misbehave } = await startMisbehavingRegistry(options);
    return {
      gateway: makeRegistryGateway(timeouts),
      upstream: registry.upstream(),
      publish: async (image) => {
        registry.publish(image);
      },
      misbehave,
      close: () => registry.close(),
    };
  });
}
