/** Binds an adapter to each port: one module for each choice, joined here for `serve`. */
import 'reflect-metadata';
import { Container } from 'inversify';
import { RequestHistory } from '../../adapters/http/status/request-history.ts';
import { ExplainPackage } from '../../application/explain-package.ts';
import { credentialsModule } from './credentials-module.ts';
import { gatewayModule } from './gateway-module.ts';
import { processModule, serviceModule } from './service-module.ts';
import { storeModule } from './store-module.ts';
import * as T from './tokens.ts';

export function createContainer(inputs: T.ContainerInputs): Container {
  const container = new Container({ defaultScope: 'Singleton' });
  container.load(
    processModule(inputs),
    storeModule(inputs.settings),
    gatewayModule(inputs),
    credentialsModule(inputs),
    serviceModule(),
  );
  bindInspection(container);
  return container;
}

/** The state that operators can see, gathered from the adapters and use cases that hold it. */
function bindInspection(container: Container): void {
  container.bind(T.REQUEST_HISTORY).toConstantValue(new RequestHistory());
  container.bind(T.INSPECTION).toResolvedValue(
    (store, packages, downloads, credentials, upstreams, requests) => ({
      store,
      packages,
      downloads,
      credentials,
      upstreams,
      requests,
    }),
    [
      T.STORE_INSPECTION,
      T.RESOLVE_PACKAGE,
      T.GET_PACKAGE,
      T.CREDENTIAL_INSPECTION,
      T.UPSTREAM_INSPECTION,
      T.REQUEST_HISTORY,
    ],
  );
  container
    .bind(T.EXPLAIN_PACKAGE)
    .toResolvedValue(
      (get, store, credentials, inspection) => new ExplainPackage({ get, store, credentials, inspection }),
      [T.GET_PACKAGE, T.PACKAGE_STORE, T.CREDENTIAL_PROVIDER, T.INSPECTION],
    );
}
