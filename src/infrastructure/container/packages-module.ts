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
import type { Bucket } from './bucket.ts';
import { type ContainerInputs, T } from './tokens.ts';

export function gatewayModule(inputs: ContainerInputs): ContainerModule {
  return new ContainerModule(({ bind }) => {
    const { gateway, catalog, component } = openGateway(inputs);
    bind(T.IMAGE_CATALOG).toConstantValue(catalog);
    bind(T.BLOB_SIZES).toResolvedValue((bucket) => orBucket(gateway, bucket), [T.BUCKET]);
    bind(T.GATEWAY_COMPONENT).toResolvedValue((bucket) => withBucket(component, bucket), [T.BUCKET]);
    const history = new UpstreamHistory();
    bind(T.UPSTREAM_INSPECTION).toConstantValue(history);
    bind(T.REGISTRY_GATEWAY).toResolvedValue(
      (metrics, bucket) => {
        const observed = new ObservedRegistryGateway(orBucket(gateway, bucket), [
          history.observe,
          upstreamMetrics(metrics),
        ]);
        // A directory is asked without cost, and shows a new package at once.
        return inputs.settings.registry.gateway === 'oci' ? new NegativeCache(observed) : observed;
      },
      [T.METRICS, T.BUCKET],
    );
  });
}

type SizedGateway = RegistryGateway & BlobSizes;

function orBucket(gateway: SizedGateway | undefined, bucket: Bucket | undefined): SizedGateway {
  const asked = gateway ?? bucket?.gateway;
  // The settings have been checked.
  if (asked === undefined) throw new Error('no bucket is named');
  return asked;
}

function withBucket(component: Component, bucket: Bucket | undefined): Component {
  if (bucket === undefined) return component;
  return {
    start: async () => {
      await component.start?.();
      await bucket.start();
    },
    stop: () => bucket.stop(),
  };
}

/** Without a gateway where the bucket is the only one. */
function openGateway({ settings: { registry }, environment, version, logger }: ContainerInputs): {
  gateway: SizedGateway | undefined;
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
    case 'bucket':
      return { gateway: undefined, catalog: new NoImageCatalog(), component: {} };
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
      (logger, mismatches, metrics, bucket) => {
        const writeBehind = bucket?.writeBehind(files);
        return new ObservedPackageStore(files, [
          storeLog(logger, currentTraceId),
          storeMetrics(metrics, () => files.usage, mismatches),
          ...(writeBehind === undefined ? [] : [writeBehind]),
        ]);
      },
      [T.LOGGER, T.MISMATCHES, T.METRICS, T.BUCKET],
    );
  });
}
