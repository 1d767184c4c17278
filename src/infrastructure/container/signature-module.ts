/** The verification of signatures, loaded only if the settings enable it. */
import { ContainerModule } from 'inversify';
import { join } from 'node:path';
import { Layout } from '../../adapters/filesystem/layout.ts';
import { signatureLog } from '../../adapters/log/event-log.ts';
import { toAll } from '../../adapters/observers/observed-ports.ts';
import { signatureMetrics } from '../../adapters/prometheus/optional-metrics.ts';
import { ClaimFolder } from '../../adapters/signatures/claim-folder.ts';
import { ImageSignatureVerifier } from '../../adapters/signatures/image-signature-verifier.ts';
import { TrustedKeys } from '../../adapters/signatures/trusted-keys.ts';
import { ResolveSignedPackage, type SignatureMode } from '../../application/resolve-signed-package.ts';
import { type ModuleInputs, T } from './tokens.ts';

/** @throws Error if a file of keys or roots cannot be used */
export function signatureModule(
  { settings: { registry, store }, logger, senders }: ModuleInputs,
  mode: SignatureMode,
): ContainerModule {
  const trusted = new TrustedKeys({
    files: registry.signature,
    onUnusable: (err) => {
      logger.error({ err }, 'keys of signatures cannot be used, keeping the previous ones');
    },
  });
  const claims = store.enabled ? new ClaimFolder(join(new Layout(store.directory).root, 'signatures')) : undefined;
  return new ContainerModule(({ bind }) => {
    bind(T.SIGNATURES).toResolvedValue(
      (resolve, gateway, catalog, credentials, metrics, { aborted: stopping }) =>
        new ResolveSignedPackage({
          resolve,
          verifier: new ImageSignatureVerifier({ trusted, gateway, catalog, claims, onFailure: senders.name }),
          credentials,
          platform: registry.platform,
          mode,
          observe: toAll([signatureLog(logger), signatureMetrics(metrics)]),
          stopping,
        }),
      [T.RESOLVE_PACKAGE, T.REGISTRY_GATEWAY, T.IMAGE_CATALOG, T.CREDENTIAL_PROVIDER, T.METRICS, T.SHUTDOWN],
    );
    bind(T.PACKAGE_RESOLVER).toResolvedValue(
      (signatures, resolve) => signatures ?? resolve,
      [T.SIGNATURES, T.RESOLVE_PACKAGE],
    );
  });
}
