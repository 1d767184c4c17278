/** Binds the sources of packages and the store that caches them. */
import { ContainerModule } from 'inversify';
import { CacheDirectory } from '../../adapters/filesystem/cache-directory.ts';
import { FilesystemPackageStore } from '../../adapters/filesystem/filesystem-package-store.ts';
import { currentTraceId } from '../../adapters/http/server/trace-context.ts';
import { storeLog } from '../../adapters/log/event-log.ts';
import {
  type ArrivalObserver,
  ObservedPackageStore,
  ObservedRegistryGateway,
} from '../../adapters/observers/observed-ports.ts';
import { UpstreamHistory } from '../../adapters/observers/upstream-history.ts';
import { NoImageCatalog, OciLayoutGateway } from '../../adapters/oci-layout/oci-layout-gateway.ts';
import { storeMetrics, upstreamMetrics } from '../../adapters/prometheus/package-metrics.ts';
import { NegativeCache } from '../../adapters/registry/negative-cache.ts';
import type { SourcesGateway } from '../../adapters/sources/sources-gateway.ts';
import { NoPackageStore } from '../../adapters/unstored/no-package-store.ts';
import type { BlobSizes, ImageCatalog, RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import { type Component, Lifecycle } from '../lifecycle.ts';
import type { Settings } from '../settings.ts';
import type { SharedBucket } from '../../adapters/s3/shared-bucket.ts';
import { openOciGateway } from './oci-gateway.ts';
import type { ConfiguredSources } from './sources-module.ts';
import { type ModuleInputs, T } from './tokens.ts';

/** Rejects with the error of a file that the settings name. */
export async function gatewayModule(inputs: ModuleInputs): Promise<ContainerModule> {
  const sources = await configuredSources(inputs);
  return new ContainerModule(({ bind }) => {
    const { gateway, catalog, component } = openGateway(inputs);
    const mirrored = catalog instanceof NoImageCatalog ? undefined : sources?.catalog(catalog);
    bind(T.IMAGE_CATALOG).toConstantValue(mirrored ?? catalog);
    bind(T.BLOB_SIZES).toResolvedValue((bucket) => mirrored ?? orBucket(gateway, bucket), [T.BUCKET]);
    bind(T.GATEWAY_COMPONENT).toResolvedValue(
      (bucket) => joined([component, ...(sources?.components ?? []), ...(bucket === undefined ? [] : [bucket])]),
      [T.BUCKET],
    );
    bind(T.MIRRORS).toConstantValue(sources?.mirrors ?? []);
    const history = new UpstreamHistory();
    bind(T.UPSTREAM_INSPECTION).toConstantValue(history);
    bind(T.SOURCED_GATEWAY).toResolvedValue(
      (metrics, bucket) => {
        const all = sources?.with(bucket) ?? [];
        const observe = upstreamMetrics(metrics, ['registry', ...new Set(all.map(({ kind }) => kind))]);
        const observed = new ObservedRegistryGateway(orBucket(gateway, bucket), [history.observe, observe]);
        const sourced = sources?.before(observed, all, observe, metrics);
        if (bucket !== undefined) bucket.onHealed = (digest) => sourced?.healed('bucket', digest);
        return { gateway: sourced ?? observed, sources: sourced };
      },
      [T.METRICS, T.BUCKET],
    );
    bind(T.SOURCES).toResolvedValue(({ sources: sourced }) => sourced, [T.SOURCED_GATEWAY]);
    bind(T.REGISTRY_GATEWAY).toResolvedValue(
      // A look-up in a directory is cheap, and finds a new package at once.
      ({ gateway: asked }) => (inputs.settings.registry.gateway === 'oci' ? new NegativeCache(asked) : asked),
      [T.SOURCED_GATEWAY],
    );
  });
}

type SizedGateway = RegistryGateway & BlobSizes;

function orBucket(gateway: SizedGateway | undefined, bucket: SharedBucket | undefined): SizedGateway {
  const asked = gateway ?? bucket?.gateway;
  // The settings were checked before.
  if (asked === undefined) throw new Error('no bucket is named');
  return asked;
}

function joined(components: readonly Component[]): Component {
  const parts = new Lifecycle(components);
  return { start: () => parts.start(), stop: () => parts.stop() };
}

/** Loads the code of sources only if the settings have some. */
async function configuredSources(inputs: ModuleInputs): Promise<ConfiguredSources | undefined> {
  const { gateway, mirrors, bucket } = inputs.settings.registry;
  if (gateway !== 'oci' || (mirrors.length === 0 && bucket.endpoint === undefined)) return undefined;
  const { ConfiguredSources: Sources } = await import('./sources-module.ts');
  return new Sources(inputs);
}

/** Returns no gateway if the bucket is the only upstream. */
function openGateway(inputs: ModuleInputs): {
  gateway: SizedGateway | undefined;
  catalog: (ImageCatalog & BlobSizes) | NoImageCatalog;
  component: Component;
} {
  const {
    settings: { registry },
    logger,
  } = inputs;
  switch (registry.gateway) {
    case 'oci': {
      const gateway = openOciGateway(inputs);
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
      bind(T.PACKAGE_STORE).toResolvedValue(
        (bucket) => {
          bucket?.writeBehind(undefined);
          return none;
        },
        [T.BUCKET],
      );
      bind(T.STORE_INSPECTION).toConstantValue(none);
      bind(T.STORE_COMPONENT).toConstantValue({});
      return;
    }
    const files = new FilesystemPackageStore({ directory, maxBytes: maxSize, scrubBytesPerSecond: scrubRate });
    bind(T.STORE_COMPONENT).toConstantValue(new CacheDirectory(files, directory));
    bind(T.STORE_INSPECTION).toConstantValue(files);
    bind(T.PACKAGE_STORE).toResolvedValue(
      (logger, senders, mismatches, metrics, bucket, sources) => {
        const writeBehind = bucket?.writeBehind(files);
        return new ObservedPackageStore(files, [
          senders.observeArrival,
          storeLog(logger, currentTraceId),
          storeMetrics(metrics, () => files.usage, mismatches),
          ...(writeBehind === undefined ? [] : [writeBehind]),
          ...(sources === undefined ? [] : [tellArrivals(sources)]),
        ]);
      },
      [T.LOGGER, T.SENDERS, T.MISMATCHES, T.METRICS, T.BUCKET, T.SOURCES],
    );
  });
}

/** Reports wrong bytes that the store has found to the sources. */
function tellArrivals(sources: Pick<SourcesGateway, 'mismatched'>): ArrivalObserver {
  return (event) => {
    if (event.kind === 'ended') sources.mismatched(event.error, event.blob.digest);
  };
}
