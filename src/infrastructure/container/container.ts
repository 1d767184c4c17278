/** Binds an adapter to each port: one module for each choice, joined here for `serve`. */
import 'reflect-metadata';
import { Container, ContainerModule } from 'inversify';
import { RequestHistory } from '../../adapters/http/server/request-record.ts';
import { Senders } from '../../adapters/registry/senders.ts';
import { ExplainPackage } from '../../application/explain-package.ts';
import { credentialsModule } from './credentials-module.ts';
import { gatewayModule, storeModule } from './packages-module.ts';
import { processModule, serviceModule } from './service-module.ts';
import { type ContainerInputs, type ModuleInputs, T } from './tokens.ts';

/** Rejects with the error of a file that the settings name. */
export async function createContainer(given: ContainerInputs): Promise<Container> {
  const inputs = { ...given, senders: new Senders() };
  const container = new Container({ defaultScope: 'Singleton' });
  container.load(
    processModule(inputs),
    storeModule(inputs.settings),
    await gatewayModule(inputs),
    credentialsModule(inputs),
    serviceModule(),
    await resolverModule(inputs),
    await distributionModule(inputs),
    await optionalBucketModule(inputs),
  );
  bindInspection(container);
  return container;
}

/** Loads the code of signatures only if they are verified. */
async function resolverModule(inputs: ModuleInputs): Promise<ContainerModule> {
  const { mode } = inputs.settings.registry.signature;
  if (mode !== 'off') return (await import('./signature-module.ts')).signatureModule(inputs, mode);
  return new ContainerModule(({ bind }) => {
    bind(T.SIGNATURES).toConstantValue(undefined);
    bind(T.PACKAGE_RESOLVER).toResolvedValue((resolve) => resolve, [T.RESOLVE_PACKAGE]);
  });
}

/** Loads the code of /v2/ only if it is served. */
async function distributionModule({ settings }: ContainerInputs): Promise<ContainerModule> {
  if (settings.server.distribution.enabled) return (await import('./distribution-module.ts')).distributionModule();
  return new ContainerModule(({ bind }) => {
    bind(T.DISTRIBUTION).toConstantValue(undefined);
  });
}

/** Loads the code of S3 only if a bucket is configured. */
async function optionalBucketModule(inputs: ModuleInputs): Promise<ContainerModule> {
  const { endpoint } = inputs.settings.registry.bucket;
  if (endpoint !== undefined) return (await import('./bucket-module.ts')).bucketModule(inputs, endpoint);
  return new ContainerModule(({ bind }) => {
    bind(T.BUCKET).toConstantValue(undefined);
  });
}

/** The state for operators, from the adapters and use cases that hold it. */
function bindInspection(container: Container): void {
  container.bind(T.REQUEST_HISTORY).toConstantValue(new RequestHistory());
  container.bind(T.INSPECTION).toResolvedValue(
    (store, packages, downloads, credentials, upstreams, requests, sources) => ({
      store,
      packages,
      downloads,
      credentials,
      upstreams,
      requests,
      sources,
    }),
    [
      T.STORE_INSPECTION,
      T.RESOLVE_PACKAGE,
      T.GET_PACKAGE,
      T.CREDENTIAL_INSPECTION,
      T.UPSTREAM_INSPECTION,
      T.REQUEST_HISTORY,
      T.SOURCES,
    ],
  );
  container
    .bind(T.EXPLAIN_PACKAGE)
    .toResolvedValue(
      (get, store, images, credentials, inspection, signatures) =>
        new ExplainPackage({ get, store, images, credentials, inspection, signatures }),
      [T.GET_PACKAGE, T.PACKAGE_STORE, T.IMAGES, T.CREDENTIAL_PROVIDER, T.INSPECTION, T.SIGNATURES],
    );
}
