import { ServiceClient } from '../../src/adapters/service/service-client.ts';
import { GetPackage } from '../../src/application/get-package.ts';
import { LocalCache } from '../../src/application/prefetch-packages.ts';
import { ResolvePackage } from '../../src/application/resolve-package.ts';
import { startHttpApp } from '../support/http-app.ts';
import { MemoryPackageStore } from '../support/memory-package-store.ts';
import { type StubbedGateway, stubCredentials } from '../support/ports.ts';
import { describePackageCache } from './package-cache.ts';

function useCases(gateway: StubbedGateway, maxBytes: number): { get: GetPackage; manifests: ResolvePackage } {
  const store = new MemoryPackageStore(maxBytes);
  const ports = { store, gateway, credentials: stubCredentials(), stopping: new AbortController().signal };
  const resolve = new ResolvePackage({ ...ports, platform: { os: 'linux', architecture: 'amd64' } });
  return { get: new GetPackage({ ...ports, resolve, parallelDownloads: 4 }), manifests: resolve };
}

describePackageCache('LocalCache', async (gateway, maxBytes) => ({
  cache: new LocalCache(useCases(gateway, maxBytes).get),
  close: async () => undefined,
}));

describePackageCache('ServiceClient', async (gateway, maxBytes) => {
  const app = await startHttpApp({ packages: useCases(gateway, maxBytes) });
  const client = new ServiceClient({ origin: new URL(app.url), token: undefined, ca: undefined, idleTimeoutMs: 1000 });
  return {
    cache: client,
    close: async () => {
      client.close();
      await app.close();
    },
  };
});
