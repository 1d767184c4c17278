/** The two caches that can be filled: that of the settings, while no service runs on it, and that of a running service. */
import { ServiceClient, type ServiceClientOptions } from '../../adapters/service/service-client.ts';
import { DescribePackage } from '../../application/describe-package.ts';
import { LocalCache } from '../../application/local-cache.ts';
import type { PackageCache } from '../../application/prefetch-packages.ts';
import {
  CREDENTIALS_COMPONENT,
  GATEWAY_COMPONENT,
  GET_PACKAGE,
  PACKAGE_RESOLVER,
  PACKAGE_STORE,
  STORE_COMPONENT,
} from '../container/tokens.ts';
import type { Settings } from '../settings.ts';
import type { Terminal } from '../../adapters/cli/command.ts';
import { CommandFailure } from '../../adapters/cli/failures.ts';
import { withComponents } from './with-components.ts';

/** Longer than the service waits for a registry, all its tries together. */
const IDLE_MS = 120_000;

type Work<Outcome> = (cache: PackageCache) => Promise<Outcome>;

export async function withServiceCache<Outcome>(
  options: Omit<ServiceClientOptions, 'idleTimeoutMs'>,
  work: Work<Outcome>,
): Promise<Outcome> {
  const client = new ServiceClient({ ...options, idleTimeoutMs: IDLE_MS });
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

/** @throws CommandFailure when there is none, or another process works on it */
export async function withLocalCache<Outcome>(
  settings: Settings,
  terminal: Terminal,
  work: Work<Outcome>,
): Promise<Outcome> {
  if (!settings.store.enabled) throw new CommandFailure('store.enabled is false: there is no cache to fill');
  // This command does not verify old entries.
  const quiet = { ...settings, store: { ...settings.store, scrubRate: 0 } };
  return withComponents(quiet, [STORE_COMPONENT, GATEWAY_COMPONENT, CREDENTIALS_COMPONENT], terminal, (container) => {
    const [resolve, store] = [container.get(PACKAGE_RESOLVER), container.get(PACKAGE_STORE)];
    return work(new LocalCache({ get: container.get(GET_PACKAGE), describe: new DescribePackage({ resolve, store }) }));
  });
}
