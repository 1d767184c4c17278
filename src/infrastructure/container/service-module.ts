/** The use cases behind the HTTP interface, and the process around them. */
import { ContainerModule } from 'inversify';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { totalmem } from 'node:os';
import { TarLayerFiles } from '../../adapters/archive/tar-layer-files.ts';
import type { BootstrapOptions } from '../../adapters/bootstrap/bootstrap-app.ts';
import { BootstrapListener } from '../../adapters/bootstrap/bootstrap-listener.ts';
import { Admission, ADMISSION_LIMITS, OTHER_CONNECTIONS } from '../../adapters/http/server/admission.ts';
import { createHttpApp } from '../../adapters/http/app.ts';
import { HttpServer, LIMITS } from '../../adapters/http/server/http-server.ts';
import { FollowedTls, MutualTls, readTlsFiles, REFUSALS } from '../../adapters/http/server/mutual-tls.ts';
import { refuseHeads } from '../../adapters/http/server/refused-heads.ts';
import {
  bootstrapMetrics,
  certificateMetrics,
  createMetricsRegistry,
  digestMismatches,
  refusalMetrics,
  requestMetrics,
  sendingMetrics,
} from '../../adapters/prometheus/service-metrics.ts';
import { downloadMetrics, packageMetrics } from '../../adapters/prometheus/package-metrics.ts';
import {
  observedIcons,
  ObservedPackages,
  onFailure,
  type PackageObserver,
} from '../../adapters/observers/observed-ports.ts';
import { GetIcon } from '../../application/get-icon.ts';
import { GetImage } from '../../application/get-image.ts';
import { GetPackage } from '../../application/get-package.ts';
import { GetLayerFile } from '../../application/get-layer-file.ts';
import { ResolvePackage } from '../../application/resolve-package.ts';
import { accessLog, certificateLog, refusalLog } from '../../adapters/log/event-log.ts';
import { type Component, Lifecycle, Service, ShutdownSignals } from '../lifecycle.ts';
import type { Settings } from '../settings.ts';
import { type ModuleInputs, T } from './tokens.ts';

/** rpp-get has some 10 MB. Its layer may hold other files too. */
const LAYER_FILE_LIMITS = { maxFileBytes: 64 * 1024 ** 2, maxUnpackedBytes: 1024 ** 3, timeoutMs: 240_000 };
/** The limit of the chart. */
const DEFAULT_MEMORY = 1024 ** 3;

export function processModule({ settings, logger, version, environment, senders }: ModuleInputs): ContainerModule {
  return new ContainerModule(({ bind }) => {
    bind(T.SETTINGS).toConstantValue(settings);
    bind(T.LOGGER).toConstantValue(logger);
    bind(T.SHUTDOWN).toConstantValue(new ShutdownSignals());
    bind(T.SENDERS).toConstantValue(senders);
    bind(T.METRICS).toConstantValue(createMetricsRegistry(version));
    bind(T.MISMATCHES).toResolvedValue(digestMismatches, [T.METRICS]);
    const startedAt = new Date();
    // By the downward API.
    const [node, pod] = [environment['NODE_NAME'], environment['POD_NAME']];
    bind(T.STATUS).toResolvedValue((inspection) => ({ version, node, pod, startedAt, inspection }), [T.INSPECTION]);
  });
}

export function serviceModule(): ContainerModule {
  return new ContainerModule(({ bind }) => {
    bind(T.RESOLVE_PACKAGE).toResolvedValue(
      (store, gateway, credentials, { registry: { platform } }, { aborted: stopping }) =>
        new ResolvePackage({ store, gateway, credentials, platform, stopping }),
      [T.PACKAGE_STORE, T.REGISTRY_GATEWAY, T.CREDENTIAL_PROVIDER, T.SETTINGS, T.SHUTDOWN],
    );
    bind(T.GET_PACKAGE).toResolvedValue(
      (resolve, store, gateway, credentials, sources, { registry: { parallelDownloads } }, { aborted: stopping }) =>
        new GetPackage({ resolve, store, gateway, credentials, sources, parallelDownloads, stopping }),
      [
        T.PACKAGE_RESOLVER,
        T.PACKAGE_STORE,
        T.REGISTRY_GATEWAY,
        T.CREDENTIAL_PROVIDER,
        T.SOURCES,
        T.SETTINGS,
        T.SHUTDOWN,
      ],
    );
    bind(T.PACKAGE_OBSERVERS).toResolvedValue(
      (metrics, mismatches, sources, senders) => {
        const observers: PackageObserver[] = [onFailure(senders.name), packageMetrics(metrics, mismatches)];
        if (sources !== undefined) observers.push(onFailure(sources.mismatched.bind(sources)));
        return observers;
      },
      [T.METRICS, T.MISMATCHES, T.SOURCES, T.SENDERS],
    );
    bind(T.PACKAGES).toResolvedValue(
      (get, resolve, metrics, observers) => {
        downloadMetrics(() => get.slots, metrics);
        const observed = new ObservedPackages({ get, manifests: resolve }, observers);
        return { get: observed, manifests: observed };
      },
      [T.GET_PACKAGE, T.PACKAGE_RESOLVER, T.METRICS, T.PACKAGE_OBSERVERS],
    );
    bind(T.IMAGES).toResolvedValue(
      (catalog, gateway, credentials, { registry: { platform } }, signatures) =>
        new GetImage({ credentials, catalog, gateway, platform, signatures }),
      [T.IMAGE_CATALOG, T.REGISTRY_GATEWAY, T.CREDENTIAL_PROVIDER, T.SETTINGS, T.SIGNATURES],
    );
    bind(T.ICONS).toResolvedValue(
      (repositories, catalog, gateway, observers, { registry: { platform } }, { aborted: stopping }) => {
        const files = new TarLayerFiles();
        return observedIcons(new GetIcon({ repositories, catalog, gateway, files, platform, stopping }), observers);
      },
      [T.PACKAGE_REPOSITORIES, T.IMAGE_CATALOG, T.REGISTRY_GATEWAY, T.PACKAGE_OBSERVERS, T.SETTINGS, T.SHUTDOWN],
    );
    bind(T.LAYER_FILES).toResolvedValue(
      (resolve, { get: packages }, store, { aborted: stopping }) =>
        new GetLayerFile({ resolve, packages, store, stopping, files: new TarLayerFiles(), limits: LAYER_FILE_LIMITS }),
      [T.PACKAGE_RESOLVER, T.PACKAGES, T.PACKAGE_STORE, T.SHUTDOWN],
    );
    bind(T.ADMISSION).toResolvedValue(
      ({ server }) =>
        new Admission({
          ...ADMISSION_LIMITS,
          maxRunning: server.maxConnections - OTHER_CONNECTIONS,
          maxHeldBytes: socketMemory(server),
        }),
      [T.SETTINGS],
    );
    bind(T.SERVICE).toDynamicValue((from) => {
      const [settings, logger, metrics] = [from.get(T.SETTINGS), from.get(T.LOGGER), from.get(T.METRICS)];
      const [shutdown, admission] = [from.get(T.SHUTDOWN), from.get(T.ADMISSION)];
      const tokens = [T.STORE_COMPONENT, T.GATEWAY_COMPONENT, T.CREDENTIALS_COMPONENT];
      const components = tokens.map((token) => from.get(token));
      const observers = [accessLog(logger), requestMetrics(metrics), from.get(T.REQUEST_HISTORY).observe];
      const files = from.get(T.LAYER_FILES);
      const bootstrap = bootstrapListener(settings.bootstrap, { files, observers, admission }, logger);
      if (bootstrap !== undefined) bootstrapMetrics(metrics, () => bootstrap.isOpen);
      const app = createHttpApp({
        packages: from.get(T.PACKAGES),
        images: from.get(T.IMAGES),
        icons: from.get(T.ICONS),
        explain: from.get(T.EXPLAIN_PACKAGE),
        readiness: [
          async () => bootstrap?.notReady(),
          () => Promise.resolve(shutdown.draining.aborted ? 'the service is stopping' : undefined),
          ...components.map((component) => async () => component.notReady?.()),
        ],
        metrics: async () => ({ contentType: metrics.contentType, text: await metrics.metrics() }),
        status: from.get(T.STATUS),
        distribution: from.get(T.DISTRIBUTION),
        observers,
        admission,
      });
      const { tls, followed } = loopbackTls(settings.server.tls, logger, metrics);
      const limits = { ...LIMITS, maxConnections: settings.server.maxConnections };
      const server = new HttpServer(app.callback(), tls, limits, refuseHeads(observers));
      certificateMetrics(metrics, settings.server.certificates);
      sendingMetrics(
        metrics,
        () => admission.usage,
        () => server.acceptDelay(),
      );
      return new Service({
        lifecycle: new Lifecycle([...components, ...followed]),
        server,
        bootstrap,
        shutdown,
        listen: settings.server.listenAddress,
        shutdownTimeoutMs: settings.server.shutdownTimeoutSeconds * 1000,
      });
    });
  });
}

/** The port of new nodes; undefined when it is not served. */
function bootstrapListener(
  { listenAddress, clusterUUID }: Settings['bootstrap'],
  parts: Pick<BootstrapOptions, 'files' | 'observers' | 'admission'>,
  logger: Logger,
): BootstrapListener | undefined {
  if (listenAddress === 'off') return undefined;
  return new BootstrapListener({
    ...parts,
    clusterUUID,
    listen: listenAddress,
    onListening: (address) => {
      logger.info(address, 'bootstrap port is open');
    },
    onFailure: (err) => {
      logger.error({ err }, 'bootstrap port cannot be opened');
    },
  });
}

/** The TLS of the hardened mode; nothing in the other one. */
function loopbackTls(
  paths: Settings['server']['tls'],
  logger: Logger,
  metrics: Registry,
): { readonly tls: MutualTls | undefined; readonly followed: readonly Component[] } {
  const count = refusalMetrics(metrics, REFUSALS);
  if (paths.certificate === '') return { tls: undefined, followed: [] };
  const log = refusalLog(logger);
  const files = readTlsFiles(paths);
  const tls = new MutualTls({
    files,
    clientNames: paths.clientNames,
    onRefused: (refusal) => {
      count(refusal);
      log(refusal);
    },
  });
  return { tls, followed: [new FollowedTls(paths, files, tls, certificateLog(logger))] };
}

/** A tenth of what the pod may take, since cgroup v2 counts socket buffers; without a limit, that of the chart counts. */
function socketMemory({ maxSocketMemory }: Settings['server']): number {
  if (maxSocketMemory > 0) return maxSocketMemory;
  const limit = process.constrainedMemory();
  return (limit > 0 && limit < totalmem() ? limit : DEFAULT_MEMORY) / 10;
}
