/** The read-only /v2/, loaded only if the settings enable it. */
import { ContainerModule } from 'inversify';
import { distributionFeature } from '../../adapters/http/distribution/distribution-routes.ts';
import { ReadRepository } from '../../application/read-repository.ts';
import { T } from './tokens.ts';

export function distributionModule(): ContainerModule {
  return new ContainerModule(({ bind }) => {
    bind(T.REPOSITORIES).toResolvedValue(
      ({ get, manifests }, store, credentials, catalog, sizes, signatures) =>
        new ReadRepository({ packages: get, manifests, store, credentials, catalog, sizes, signatures }),
      [T.PACKAGES, T.PACKAGE_STORE, T.CREDENTIAL_PROVIDER, T.IMAGE_CATALOG, T.BLOB_SIZES, T.SIGNATURES],
    );
    bind(T.DISTRIBUTION).toResolvedValue(
      (repositories, admission) => distributionFeature({ repositories, admission }),
      [T.REPOSITORIES, T.ADMISSION],
    );
  });
}
