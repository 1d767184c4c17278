/** Who keeps packages. */
import { ContainerModule } from 'inversify';
import { FilesystemPackageStore } from '../../adapters/filesystem/filesystem-package-store.ts';
import { MeteredPackageStore } from '../../adapters/prometheus/metered-package-store.ts';
import { NoPackageStore } from '../../adapters/unstored/no-package-store.ts';
import { LoggedPackageStore } from '../logged-package-store.ts';
import type { Part } from '../service.ts';
import type { Settings } from '../settings.ts';
import * as T from './tokens.ts';

export function storeModule({ store: { enabled, directory, maxSize, scrubRate } }: Settings): ContainerModule {
  return new ContainerModule(({ bind }) => {
    if (!enabled) {
      const none = new NoPackageStore();
      bind(T.PACKAGE_STORE).toConstantValue(none);
      bind(T.STORE_INSPECTION).toConstantValue(none);
      bind(T.STORE_PART).toConstantValue({});
      return;
    }
    const files = new FilesystemPackageStore({ directory, maxBytes: maxSize, scrubBytesPerSecond: scrubRate });
    bind(T.STORE_PART).toConstantValue(partOfStore(files));
    bind(T.STORE_INSPECTION).toConstantValue(files);
    bind(T.PACKAGE_STORE).toResolvedValue(
      (logger, mismatches, metrics) =>
        new MeteredPackageStore(new LoggedPackageStore(files, logger), () => files.usage, mismatches, metrics),
      [T.LOGGER, T.MISMATCHES, T.METRICS],
    );
  });
}

function partOfStore(store: FilesystemPackageStore): Part {
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
