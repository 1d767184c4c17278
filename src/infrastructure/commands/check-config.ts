/** `check-config` with the service that the settings describe: it is built as `serve` builds it, and not started. */
import { checkConfigCommand } from '../../adapters/cli/check-config.ts';
import {
  checkStoreDirectory,
  sourceWarnings,
  variableWarnings,
  warningsOf,
} from '../../adapters/cli/settings-warnings.ts';
import { askRegistries } from '../../adapters/cli/registry-checks.ts';
import { unreadableFiles } from '../../adapters/cli/unreadable-files.ts';
import { Layout } from '../../adapters/filesystem/layout.ts';
import { isLoopback, listenTroubles } from '../../adapters/http/server/listen-address.ts';
import { createLogger } from '../../adapters/log/logger.ts';
import { OciLayoutGateway } from '../../adapters/oci-layout/oci-layout-gateway.ts';
import { Senders } from '../../adapters/registry/senders.ts';
import { createContainer } from '../container/container.ts';
import { openOciGateway } from '../container/oci-gateway.ts';
import { type ContainerInputs, T } from '../container/tokens.ts';
import { layOver, parseLayers, readLayers } from '../load-settings.ts';

type Container = Awaited<ReturnType<typeof createContainer>>;

export const CHECK_CONFIG = checkConfigCommand((flags, terminal) => {
  const layers = readLayers(flags, terminal);
  const { settings, mistakes } = parseLayers(layers);
  const written = layOver(layers);
  const unreadable = unreadableFiles(written);
  if (settings === undefined) {
    const found = { errors: unreadable, warnings: variableWarnings(written), answers: null };
    return { mistakes, written, registries: [], check: () => Promise.resolve(found) };
  }
  const { server, bootstrap, store, registry, credentials } = settings;
  return {
    mistakes,
    written,
    registries: credentials.registries,
    check: async (isOnline) => {
      const { version, environment } = terminal;
      const inputs = { settings, version, environment };
      const { errors, container } = await startupErrors(inputs, unreadable);
      // A bucket that cannot be made is reported as one that cannot be used.
      const bucket = { check: async (signal: AbortSignal) => container?.get(T.BUCKET)?.check(signal) };
      const place = {
        written,
        file: flags.config,
        isLoopback: isLoopback(server.listenAddress),
        cache: new Layout(store.directory).blobs,
      };
      const ports = await listenTroubles({
        'server.listenAddress': server.listenAddress,
        ...(bootstrap.listenAddress !== 'off' && { 'bootstrap.listenAddress': bootstrap.listenAddress }),
      });
      const warnings = [
        ...ports.warnings,
        ...(await warningsOf(settings, place)),
        ...(await sourceWarnings(registry, store, { mirrors: container?.get(T.MIRRORS) ?? [], bucket })),
      ];
      const gateway = openOciGateway({ ...inputs, senders: new Senders() });
      const answers = isOnline ? await askRegistries(credentials.registries, gateway) : null;
      return { errors: [...errors, ...ports.errors], warnings, answers };
    },
  };
});

/** Errors with which `serve` would end on this machine. */
async function startupErrors(
  inputs: Omit<ContainerInputs, 'logger'>,
  unreadable: readonly string[],
): Promise<{ readonly errors: string[]; readonly container: Container | undefined }> {
  const { store, registry } = inputs.settings;
  let container: Container | undefined;
  const checks: (() => unknown)[] = [
    async () => {
      if (unreadable.length > 0) return;
      // What the files of TLS, the kubeconfig and others hold, and proxies.
      container = await createContainer({ ...inputs, logger: createLogger('fatal', { write: () => undefined }) });
      container.get(T.SERVICE);
    },
    () => {
      if (store.enabled) {
        checkStoreDirectory(store.directory, () => {
          new Layout(store.directory).check();
        });
      }
    },
    () => (registry.gateway === 'oci-layout' ? new OciLayoutGateway(registry.ociLayout.directory).check() : undefined),
  ];
  const errors = [...unreadable];
  for (const check of checks) {
    try {
      await check();
    } catch (error) {
      errors.push(error instanceof Error ? error.message : 'unknown error');
    }
  }
  return { errors, container };
}
