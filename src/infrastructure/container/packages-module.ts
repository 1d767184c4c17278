/** Binds the sources of packages and the store that caches them. */
import { ContainerModule } from 'inversify';
import { CacheDirectory } from '../../adapters/filesystem/cache-directory.ts';
import { FilesystemPackageStore } from '../../adapters/filesystem/filesystem-package-store.ts';
import { currentTraceHeaders, currentTraceId } from '../../adapters/http/server/trace-context.ts';
import { storeLog } from '../../adapters/log/event-log.ts';
import { ObservedPackageStore, ObservedRegistryGateway } from '../../adapters/observers/observed-ports.ts';
import { UpstreamHistory } from '../../adapters/observers/upstream-history.ts';
import { NoImageCatalog, OciLayoutGateway } from '../../adapters/oci-layout/oci-layout-gateway.ts';
import { storeMetrics } from '../../adapters/prometheus/store-metrics.ts';
import { upstreamMetrics } from '../../adapters/prometheus/upstream-metrics.ts';
import { NegativeCache } from '../../adapters/registry/negative-cache.ts';
import { OciRegistryGateway } from '../../adapters/registry/oci-registry-gateway.ts';
import { NoPackageStore } from '../../adapters/unstored/no-package-store.ts';
import type { BlobSizes, ImageCatalog, RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import type { Component } from '../lifecycle.ts';
import type { Settings } from '../settings.ts';
import { type ContainerInputs, T } from './tokens.ts';

export function gatewayModule(inputs: ContainerInputs): ContainerModule {
  return new ContainerModule(({ bind }) => {
    const { gateway, catalog, component } = openGateway(inputs);
    bind(T.IMAGE_CATALOG).toConstantValue(catalog);
    bind(T.BLOB_SIZES).toConstantValue(gateway);
    bind(T.GATEWAY_COMPONENT).toConstantValue(component);
    const history = new UpstreamHistory();
    bind(T.UPSTREAM_INSPECTION).toConstantValue(history);
    bind(T.REGISTRY_GATEWAY).toResolvedValue(
      (metrics) => {
        const observed = new ObservedRegistryGateway(gateway, [history.observe, upstreamMetrics(metrics)]);
        // A directory is asked without cost, and shows a new package at once.
        return inputs.settings.registry.gateway === 'oci' ? new NegativeCache(observed) : observed;
      },
      [T.METRICS],
    );
  });
}

function openGateway({ settings: { registry }, environment, version, logger }: ContainerInputs): {
  gateway: RegistryGateway & BlobSizes;
  catalog: ImageCatalog;
  component: Component;
} {
  switch (registry.gateway) {
    case 'oci': {
      const { timeouts, trustedRealms } = registry;
      const gateway = new OciRegistryGateway({
        connectTimeoutMs: timeouts.connectSeconds * 1000,
        headersTimeoutMs: timeouts.headersSeconds * 1000,
        idleTimeoutMs: timeouts.idleSeconds * 1000,
        retryTimeoutMs: timeouts.retrySeconds * 1000,
        trustedRealms,
        environment,
        userAgent: `registry-packages-proxy/${version}`,
        traceHeaders: currentTraceHeaders,
      });
      return { gateway, catalog: gateway, component: {} };
    }
    case 'oci-layout': {
      const gateway = new OciLayoutGateway(registry.ociLayout.directory);
      const start = async (): Promise<void> => {
        const entries = await gateway.check();
        if (entries > 0) logger.warn({ entries }, 'index.json has entries that cannot be used');
      };
      return { gateway, catalog: new NoImageCatalog(), component: { start } };
    }
  }
}

export function storeModule({ store: { enabled, directory, maxSize, scrubRate } }: Settings): ContainerModule {
  return new ContainerModule(({ bind }) => {
    if (!enabled) {
      const none = new NoPackageStore();
      bind(T.PACKAGE_STORE).toConstantValue(none);
      bind(T.STORE_INSPECTION).toConstantValue(none);
      bind(T.STORE_COMPONENT).toConstantValue({});
      return;
    }
    const files = new FilesystemPackageStore({ directory, maxBytes: maxSize, scrubBytesPerSecond: scrubRate });
    bind(T.STORE_COMPONENT).toConstantValue(new CacheDirectory(files, directory));
    bind(T.STORE_INSPECTION).toConstantValue(files);
    bind(T.PACKAGE_STORE).toResolvedValue(
      (logger, mismatches, metrics) =>
        new ObservedPackageStore(files, [
          storeLog(logger, currentTraceId),
          storeMetrics(metrics, () => files.usage, mismatches),
        ]),
      [T.LOGGER, T.MISMATCHES, T.METRICS],
    );
  });
}
