/** `check-config`: builds the service from the settings as `serve` does, without starting it. */
import { askRegistries, checkConfigCommand } from '../../adapters/cli/check-config.ts';
import { unreadableFiles } from '../../adapters/cli/settings-file.ts';
import {
  checkStoreDirectory,
  errorsOf,
  sourceWarnings,
  variableWarnings,
  warningsOf,
} from '../../adapters/cli/settings-warnings.ts';
import { Layout } from '../../adapters/filesystem/layout.ts';
import { isLoopback, type ListenTroubles, listenTroubles } from '../../adapters/http/server/listen-address.ts';
import { checkTlsFiles } from '../../adapters/http/server/mutual-tls.ts';
import { createLogger } from '../../adapters/log/logger.ts';
import { OciLayoutGateway } from '../../adapters/oci-layout/oci-layout-gateway.ts';
import { proxyWarnings } from '../../adapters/registry/transport/proxy-warnings.ts';
import { Senders } from '../../adapters/registry/senders.ts';
import { createContainer } from '../container/container.ts';
import { openOciGateway } from '../container/oci-gateway.ts';
import { type ContainerInputs, T } from '../container/tokens.ts';
import { layOver, parseLayers, readLayers } from '../load-settings.ts';
import { type Settings, settingsSchema } from '../settings.ts';

type Container = Awaited<ReturnType<typeof createContainer>>;

export const CHECK_CONFIG = checkConfigCommand((flags, terminal) => {
  const layers = readLayers(flags, terminal);
  const { settings, mistakes } = parseLayers(layers);
  const written = layOver(layers);
  const unreadable = unreadableFiles(written);
  if (settings === undefined) {
    const check = async () => {
      const sections = rightSections(written);
      const errors = unreadable.length > 0 ? unreadable : await errorsOf([() => checkTlsFiles(sections.server?.tls)]);
      const machine = await machineTroubles(sections);
      const warnings = [...variableWarnings(written), ...machine.warnings];
      return { errors: [...errors, ...machine.errors], warnings, answers: null };
    };
    return { mistakes, written, registries: [], check };
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
      // If creating the bucket fails, it is reported as a bucket that cannot be used.
      const bucket = { check: async (signal: AbortSignal) => container?.get(T.BUCKET)?.check(signal) };
      const place = {
        written,
        file: flags.config,
        isLoopback: isLoopback(server.listenAddress),
        cache: new Layout(store.directory).blobs,
      };
      const machine = await machineTroubles({ server, bootstrap, store });
      const warnings = [
        ...machine.warnings,
        ...(await warningsOf(settings, place)),
        ...(registry.gateway === 'oci' ? proxyWarnings(environment) : []),
        ...(await sourceWarnings(registry, store, { mirrors: container?.get(T.MIRRORS) ?? [], bucket })),
      ];
      const gateway = openOciGateway({ ...inputs, senders: new Senders() });
      const answers = isOnline ? await askRegistries(credentials.registries, gateway) : null;
      return { errors: [...errors, ...machine.errors], warnings, answers };
    },
  };
});

/** Errors with which `serve` would end on this machine. */
async function startupErrors(
  inputs: Omit<ContainerInputs, 'logger'>,
  unreadable: readonly string[],
): Promise<{ readonly errors: string[]; readonly container: Container | undefined }> {
  const { registry } = inputs.settings;
  let container: Container | undefined;
  const errors = await errorsOf([
    async () => {
      if (unreadable.length > 0) return;
      // Building the service reads the files of TLS, the kubeconfig and others.
      container = await createContainer({ ...inputs, logger: createLogger('fatal', { write: () => undefined }) });
      container.get(T.SERVICE);
    },
    () => (registry.gateway === 'oci-layout' ? new OciLayoutGateway(registry.ociLayout.directory).check() : undefined),
  ]);
  return { errors: [...unreadable, ...errors], container };
}

type Sections = { readonly [Name in 'server' | 'bootstrap' | 'store']: Settings[Name] | undefined };

/** Those without a mistake: mistakes in the others do not keep them from being checked. */
function rightSections(written: Readonly<Record<string, unknown>>): Sections {
  const { server, bootstrap, store } = settingsSchema.shape;
  return {
    server: server.safeParse(written['server']).data,
    bootstrap: bootstrap.safeParse(written['bootstrap']).data,
    store: store.safeParse(written['store']).data,
  };
}

/** Ports and the directory of the cache. */
async function machineTroubles({ server, bootstrap, store }: Sections): Promise<ListenTroubles> {
  const { errors, warnings } = await listenTroubles({
    'server.listenAddress': server?.listenAddress,
    'bootstrap.listenAddress': bootstrap?.listenAddress,
  });
  const checkStore = (): void => {
    if (store?.enabled !== true) return;
    checkStoreDirectory(store.directory, () => {
      new Layout(store.directory).check();
    });
  };
  return { errors: [...(await errorsOf([checkStore])), ...errors], warnings };
}
