/** Binds the store of packages. */
import { ContainerModule } from 'inversify';
import { FilesystemPackageStore } from '../../adapters/filesystem/filesystem-package-store.ts';
import { Layout } from '../../adapters/filesystem/layout.ts';
import { storeLog } from '../../adapters/log/store-log.ts';
import { ObservedPackageStore } from '../../adapters/observers/observed-package-store.ts';
import { storeMetrics } from '../../adapters/prometheus/store-metrics.ts';
import { NoPackageStore } from '../../adapters/unstored/no-package-store.ts';
import { type HeldDirectory, holdDirectory } from '../../adapters/blobs/directory-lock.ts';
import type { Component } from '../lifecycle.ts';
import type { Settings } from '../settings.ts';
import { currentTraceId } from '../../adapters/http/server/trace-context.ts';
import * as T from './tokens.ts';

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
    bind(T.STORE_COMPONENT).toConstantValue(storeComponent(files, directory));
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

/** Two processes on one directory would each count their own bytes and evict what the other has just kept. */
function storeComponent(store: FilesystemPackageStore, directory: string): Component {
  let held: HeldDirectory | undefined;
  return {
    start: async () => {
      const layout = new Layout(directory);
      await layout.prepare();
      held = await holdDirectory(
        layout.root,
        `${directory} is in use by another process: a service, or prefetch without --url`,
      );
      await store.load();
    },
    stop: async () => {
      // The directory and its clean marker belong to the other process.
      if (held === undefined) return;
      await store.close();
      held.release();
    },
    notReady: () =>
      store.checkWritable().then(
        () => undefined,
        () => 'the cache directory cannot be written',
      ),
  };
}
