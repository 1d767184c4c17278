/** Who is behind which port: the one place where adapters are chosen and joined. */
import 'reflect-metadata';
import { Container, ContainerModule } from 'inversify';
import type { Logger } from 'pino';
import { FilesystemPackageStore } from '../adapters/filesystem/filesystem-package-store.ts';
import { createHttpApp } from '../adapters/http/app.ts';
import { HttpServer } from '../adapters/http/http-server.ts';
import { OciLayoutGateway } from '../adapters/oci-layout/oci-layout-gateway.ts';
import { createMetricsRegistry, digestMismatches, requestMetrics } from '../adapters/prometheus/process-metrics.ts';
import { MeteredGetPackage } from '../adapters/prometheus/metered-get-package.ts';
import { MeteredPackageStore } from '../adapters/prometheus/metered-package-store.ts';
import { MeteredRegistryGateway } from '../adapters/prometheus/metered-registry-gateway.ts';
import { OciRegistryGateway } from '../adapters/registry/oci-registry-gateway.ts';
import { StaticCredentialProvider } from '../adapters/static/static-credential-provider.ts';
import { NoPackageStore } from '../adapters/unstored/no-package-store.ts';
import { DescribePackage } from '../application/describe-package.ts';
import { GetPackage } from '../application/get-package.ts';
import { ResolvePackage } from '../application/resolve-package.ts';
import type { RegistryGateway } from '../domain/ports/registry-gateway.ts';
import { accessLog } from './access-log.ts';
import { LoggedPackageStore } from './logged-package-store.ts';
import { type Part, Service, Stopping } from './service.ts';
import type { Settings } from './settings.ts';
import * as T from './tokens.ts';

/** What main.ts knows of the process, as values. */
export interface Surroundings {
  readonly settings: Settings;
  readonly logger: Logger;
  readonly version: string;
  /** For the proxy variables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export function createContainer(surroundings: Surroundings): Container {
  const container = new Container({ defaultScope: 'Singleton' });
  container.load(
    processModule(surroundings),
    storeModule(surroundings.settings),
    gatewayModule(surroundings),
    credentialsModule(surroundings.settings),
    serviceModule(),
  );
  return container;
}

function processModule({ settings, logger, version }: Surroundings): ContainerModule {
  return new ContainerModule(({ bind }) => {
    bind(T.SETTINGS).toConstantValue(settings);
    bind(T.LOGGER).toConstantValue(logger);
    bind(T.STOPPING).toConstantValue(new Stopping());
    bind(T.METRICS).toConstantValue(createMetricsRegistry(version));
    bind(T.MISMATCHES).toResolvedValue(digestMismatches, [T.METRICS]);
  });
}

function storeModule({ store: { enabled, directory, maxSize } }: Settings): ContainerModule {
  return new ContainerModule(({ bind }) => {
    if (!enabled) {
      bind(T.PACKAGE_STORE).toConstantValue(new NoPackageStore());
      bind(T.STORE_PART).toConstantValue({});
      return;
    }
    const files = new FilesystemPackageStore({ directory, maxBytes: maxSize });
    bind(T.STORE_PART).toConstantValue(partOf(files));
    bind(T.PACKAGE_STORE).toResolvedValue(
      (logger, mismatches, metrics) =>
        new MeteredPackageStore(new LoggedPackageStore(files, logger), () => files.usage, mismatches, metrics),
      [T.LOGGER, T.MISMATCHES, T.METRICS],
    );
  });
}

function partOf(store: FilesystemPackageStore): Part {
  return {
    start: () => store.load(),
    stop: () => store.close(),
    notReady: () =>
      store.checkWritable().then(
        () => undefined,
        () => 'the cache directory cannot be written',
      ),
  };
}

function gatewayModule(surroundings: Surroundings): ContainerModule {
  return new ContainerModule(({ bind }) => {
    const { gateway, part } = openGateway(surroundings);
    bind(T.GATEWAY_PART).toConstantValue(part);
    bind(T.REGISTRY_GATEWAY).toResolvedValue((metrics) => new MeteredRegistryGateway(gateway, metrics), [T.METRICS]);
  });
}

function openGateway({ settings: { registry }, environment, version }: Surroundings): {
  gateway: RegistryGateway;
  part: Part;
} {
  switch (registry.gateway) {
    case 'oci': {
      const { timeouts, attempts, trustedRealms } = registry;
      const gateway = new OciRegistryGateway({
        connectTimeoutMs: timeouts.connectSeconds * 1000,
        headersTimeoutMs: timeouts.headersSeconds * 1000,
        idleTimeoutMs: timeouts.idleSeconds * 1000,
        attempts,
        trustedRealms,
        environment,
        userAgent: `registry-packages-proxy/${version}`,
      });
      return { gateway, part: {} };
    }
    case 'oci-layout': {
      const gateway = new OciLayoutGateway(registry.ociLayout.directory);
      return { gateway, part: { start: () => gateway.check() } };
    }
  }
}

function credentialsModule({ credentials }: Settings): ContainerModule {
  return new ContainerModule(({ bind }) => {
    bind(T.CREDENTIAL_PROVIDER).toConstantValue(new StaticCredentialProvider(credentials.registries));
    bind(T.CREDENTIALS_PART).toConstantValue({});
  });
}

function serviceModule(): ContainerModule {
  return new ContainerModule(({ bind }) => {
    bind(T.RESOLVE_PACKAGE).toResolvedValue(
      (store, gateway, credentials, { registry: { platform } }, { aborting: stopping }) =>
        new ResolvePackage({ store, gateway, credentials, platform, stopping }),
      [T.PACKAGE_STORE, T.REGISTRY_GATEWAY, T.CREDENTIAL_PROVIDER, T.SETTINGS, T.STOPPING],
    );
    bind(T.PACKAGES).toResolvedValue(
      (resolve, store, gateway, credentials, { aborting: stopping }, mismatches, metrics) => ({
        get: new MeteredGetPackage(
          new GetPackage({ resolve, store, gateway, credentials, stopping }),
          mismatches,
          metrics,
        ),
        describe: new DescribePackage({ resolve, store }),
      }),
      [
        T.RESOLVE_PACKAGE,
        T.PACKAGE_STORE,
        T.REGISTRY_GATEWAY,
        T.CREDENTIAL_PROVIDER,
        T.STOPPING,
        T.MISMATCHES,
        T.METRICS,
      ],
    );
    bind(T.SERVICE).toResolvedValue(
      (packages, settings, stopping, logger, metrics, ...parts) => {
        const app = createHttpApp({
          packages,
          readiness: [
            () => Promise.resolve(stopping.draining.aborted ? 'the service is stopping' : undefined),
            ...parts.map((part) => async () => part.notReady?.()),
          ],
          metrics: async () => ({ contentType: metrics.contentType, text: await metrics.metrics() }),
          observers: [accessLog(logger), requestMetrics(metrics)],
        });
        return new Service({
          parts,
          server: new HttpServer(app.callback()),
          stopping,
          listen: settings.server.listenAddress,
          shutdownTimeoutMs: settings.server.shutdownTimeoutSeconds * 1000,
        });
      },
      [T.PACKAGES, T.SETTINGS, T.STOPPING, T.LOGGER, T.METRICS, T.STORE_PART, T.GATEWAY_PART, T.CREDENTIALS_PART],
    );
  });
}
