/** Binds the state that operators can see, gathered from the parts that hold it. */
import { ContainerModule } from 'inversify';
import { RequestHistory } from '../../adapters/http/request-history.ts';
import { ExplainPackage } from '../../application/explain-package.ts';
import * as T from './tokens.ts';

export function inspectionModule(): ContainerModule {
  return new ContainerModule(({ bind }) => {
    bind(T.REQUEST_HISTORY).toConstantValue(new RequestHistory());
    bind(T.INSPECTION).toResolvedValue(
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
    bind(T.EXPLAIN_PACKAGE).toResolvedValue(
      (resolve, credentials, inspection) => new ExplainPackage({ resolve, credentials, inspection }),
      [T.RESOLVE_PACKAGE, T.CREDENTIAL_PROVIDER, T.INSPECTION],
    );
  });
}
