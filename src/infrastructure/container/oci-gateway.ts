/** Creates the gateway to OCI registries from the settings. */
import { currentTraceHeaders } from '../../adapters/http/server/trace-context.ts';
import { OciRegistryGateway } from '../../adapters/registry/oci-registry-gateway.ts';
import type { ModuleInputs } from './tokens.ts';

export function openOciGateway(
  { settings, environment, version, senders }: Omit<ModuleInputs, 'logger'>,
  retrySeconds = settings.registry.timeouts.retrySeconds,
): OciRegistryGateway {
  const { timeouts, trustedRealms } = settings.registry;
  return new OciRegistryGateway({
    connectTimeoutMs: timeouts.connectSeconds * 1000,
    headersTimeoutMs: timeouts.headersSeconds * 1000,
    idleTimeoutMs: timeouts.idleSeconds * 1000,
    retryTimeoutMs: retrySeconds * 1000,
    trustedRealms,
    senders,
    environment,
    userAgent: `registry-packages-proxy/${version}`,
    traceHeaders: currentTraceHeaders,
  });
}
