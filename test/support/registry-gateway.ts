/** Makes the gateway to registries for tests: with short time-outs and without a proxy. */
import { OciRegistryGateway } from '../../src/adapters/registry/oci-registry-gateway.ts';

type Options = ConstructorParameters<typeof OciRegistryGateway>[0];

export function makeRegistryGateway(overrides: Partial<Options> = {}): OciRegistryGateway {
  return new OciRegistryGateway({
    connectTimeoutMs: 1000,
    headersTimeoutMs: 1000,
    idleTimeoutMs: 1000,
    retryTimeoutMs: 3000,
    userAgent: 'registry-packages-proxy/test',
    environment: {},
    trustedRealms: [],
    traceHeaders: () => ({}),
    ...overrides,
  });
}
