/** Errors that `serve` would end with at its start on this machine: the service is built as `serve` builds it, and not started. */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { OciLayoutGateway } from '../../adapters/oci-layout/oci-layout-gateway.ts';
import { createContainer } from '../container/container.ts';
import { type ContainerInputs, SERVICE } from '../container/tokens.ts';
import { createLogger } from '../../adapters/log/logger.ts';
import type { Settings } from '../settings.ts';

export async function startupErrors(
  settings: Settings,
  version: string,
  environment: ContainerInputs['environment'],
): Promise<string[]> {
  const { store, registry } = settings;
  const checks: (() => unknown)[] = [
    async () => {
      // Files of TLS, kubeconfig, proxies.
      const logger = createLogger('fatal', { write: () => undefined });
      (await createContainer({ settings, logger, version, environment })).get(SERVICE);
    },
    () => {
      if (store.enabled) checkStore(store.directory);
    },
    () => (registry.gateway === 'oci-layout' ? new OciLayoutGateway(registry.ociLayout.directory).check() : undefined),
  ];
  const errors: string[] = [];
  for (const check of checks) {
    try {
      await check();
    } catch (error) {
      errors.push(error instanceof Error ? error.message : 'unknown error');
    }
  }
  return errors;
}

/** The directory itself or, while it does not exist, the nearest one above it that does. */
export function nearestDirectory(directory: string): string {
  let nearest = resolve(directory);
  while (!existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest);
  return nearest;
}

function checkStore(directory: string): void {
  const nearest = nearestDirectory(directory);
  const where = nearest === directory ? directory : `${directory} cannot be made: ${nearest}`;
  if (!statSync(nearest).isDirectory()) throw new Error(`store.directory: ${where} is no directory`);
  try {
    accessSync(nearest, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new Error(`store.directory: ${where} cannot be written`, { cause });
  }
}
