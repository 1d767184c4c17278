/** `prefetch` with the adapters of this process. */
import { CommandFailure } from '../../adapters/cli/command.ts';
import { prefetchCommand } from '../../adapters/cli/prefetch.ts';
import { ServiceClient } from '../../adapters/service/service-client.ts';
import { LocalCache } from '../../application/prefetch-packages.ts';
import { T } from '../container/tokens.ts';
import { readSettings } from '../load-settings.ts';
import { withComponents } from '../with-components.ts';

/** Longer than all attempts of the service at a registry together. */
const IDLE_MS = 120_000;

export const PREFETCH = prefetchCommand({
  local: (flags, terminal, fill) => {
    const settings = readSettings(flags, terminal);
    const { store } = settings;
    if (!store.enabled) throw new CommandFailure('store.enabled is false: there is no cache to fill');
    // This command does not verify old entries.
    const quiet = { ...settings, store: { ...store, scrubRate: 0 } };
    const components = [T.STORE_COMPONENT, T.GATEWAY_COMPONENT, T.CREDENTIALS_COMPONENT];
    return withComponents(quiet, components, terminal, (container) =>
      fill(new LocalCache(container.get(T.GET_PACKAGE)), store.directory),
    );
  },
  ofService: async (service, fill) => {
    const client = new ServiceClient({ ...service, idleTimeoutMs: IDLE_MS });
    try {
      return await fill(client, service.origin.origin);
    } finally {
      client.close();
    }
  },
});
