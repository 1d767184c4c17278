/** The tokens of the container, each with the type of its value: a swapped pair does not compile. */
import type { ServiceIdentifier } from 'inversify';
import type { Logger } from 'pino';
import type { Counter, Registry } from 'prom-client';
import type { PackageUseCases } from '../../adapters/http/package/package-route.ts';
import type { PackageObserver } from '../../adapters/observers/observed-ports.ts';
import type { Feature, RequestHistory } from '../../adapters/http/server/request-record.ts';
import type { Admission } from '../../adapters/http/server/admission.ts';
import type { StatusOptions } from '../../adapters/http/status/status-route.ts';
import type { Senders } from '../../adapters/registry/senders.ts';
import type { Mirror } from '../../adapters/sources/mirror.ts';
import type { SourcesGateway } from '../../adapters/sources/sources-gateway.ts';
import type { KubernetesCredentialProvider } from '../../adapters/kubernetes/kubernetes-credential-provider.ts';
import type { ExplainPackage } from '../../application/explain-package.ts';
import type { GetIcon } from '../../application/get-icon.ts';
import type { GetImage } from '../../application/get-image.ts';
import type { GetLayerFile } from '../../application/get-layer-file.ts';
import type { GetPackage } from '../../application/get-package.ts';
import type { CredentialInspection, CredentialProvider } from '../../domain/ports/credential-provider.ts';
import type { Inspection } from '../../adapters/http/status/parts.ts';
import type { PackageStore, StoreInspection } from '../../domain/ports/package-store.ts';
import type {
  BlobSizes,
  ImageCatalog,
  RegistryGateway,
  UpstreamInspection,
} from '../../domain/ports/registry-gateway.ts';
import type { ReadRepository } from '../../application/read-repository.ts';
import type { PackageResolver, ResolvePackage } from '../../application/resolve-package.ts';
import type { ResolveSignedPackage } from '../../application/resolve-signed-package.ts';
import type { Component, Service, ShutdownSignals } from '../lifecycle.ts';
import type { Settings } from '../settings.ts';
import type { SharedBucket } from '../../adapters/s3/shared-bucket.ts';

/** The inputs of all modules. */
export interface ContainerInputs {
  readonly settings: Settings;
  readonly logger: Logger;
  readonly version: string;
  /** Used for the proxy variables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** The inputs, and the values that several modules share before the container has them. */
export interface ModuleInputs extends ContainerInputs {
  readonly senders: Senders;
}

function token<Type>(name: string): ServiceIdentifier<Type> {
  return Symbol(name);
}

export const T = {
  SETTINGS: token<Settings>('Settings'),
  LOGGER: token<Logger>('Logger'),
  SHUTDOWN: token<ShutdownSignals>('ShutdownSignals'),
  METRICS: token<Registry>('Registry of metrics'),
  MISMATCHES: token<Counter>('Counter of digest mismatches'),
  SENDERS: token<Senders>('Senders'),

  /** For operators: the state of the port's adapter. */
  STORE_INSPECTION: token<StoreInspection>('StoreInspection'),
  UPSTREAM_INSPECTION: token<UpstreamInspection>('UpstreamInspection'),
  CREDENTIAL_INSPECTION: token<CredentialInspection>('CredentialInspection'),
  INSPECTION: token<Inspection>('Inspection'),

  PACKAGE_STORE: token<PackageStore>('PackageStore'),
  /** The gateway behind the negative cache, and its sources, if there are any. */
  SOURCED_GATEWAY: token<{ readonly gateway: RegistryGateway; readonly sources: SourcesGateway | undefined }>(
    'RegistryGateway with sources',
  ),
  /** Undefined if only registries are asked. */
  SOURCES: token<SourcesGateway | undefined>('SourcesGateway'),
  MIRRORS: token<readonly Mirror[]>('Mirrors'),
  REGISTRY_GATEWAY: token<RegistryGateway>('RegistryGateway'),
  /** Undefined if no bucket is configured. */
  BUCKET: token<SharedBucket | undefined>('Bucket'),
  CREDENTIAL_PROVIDER: token<CredentialProvider>('CredentialProvider'),
  /** The upstreams of PackageRepositories, by their names. */
  PACKAGE_REPOSITORIES: token<CredentialProvider>('CredentialProvider of PackageRepositories'),
  WATCHED_CREDENTIALS: token<KubernetesCredentialProvider>('KubernetesCredentialProvider'),
  /** The lifecycle of the adapter behind each port. */
  STORE_COMPONENT: token<Component>('Component of PackageStore'),
  GATEWAY_COMPONENT: token<Component>('Component of RegistryGateway'),
  CREDENTIALS_COMPONENT: token<Component>('Component of CredentialProvider'),

  RESOLVE_PACKAGE: token<ResolvePackage>('ResolvePackage'),
  /** ResolvePackage, with the verification of signatures if it is enabled. */
  PACKAGE_RESOLVER: token<PackageResolver>('PackageResolver'),
  /** Undefined if signatures are not verified. */
  SIGNATURES: token<ResolveSignedPackage | undefined>('ResolveSignedPackage'),
  GET_PACKAGE: token<GetPackage>('GetPackage'),
  IMAGE_CATALOG: token<ImageCatalog>('ImageCatalog'),
  BLOB_SIZES: token<BlobSizes>('BlobSizes'),
  REPOSITORIES: token<ReadRepository>('ReadRepository'),
  /** Undefined if /v2/ is not served. */
  DISTRIBUTION: token<Feature | undefined>('Distribution'),
  IMAGES: token<GetImage>('GetImage'),
  ICONS: token<Pick<GetIcon, 'execute'>>('GetIcon'),
  LAYER_FILES: token<GetLayerFile>('GetLayerFile'),
  REQUEST_HISTORY: token<RequestHistory>('RequestHistory'),
  PACKAGE_OBSERVERS: token<readonly PackageObserver[]>('Observers of packages and icons'),
  PACKAGES: token<PackageUseCases & { readonly get: Pick<GetPackage, 'deliver'> }>('PackageUseCases'),
  EXPLAIN_PACKAGE: token<ExplainPackage>('ExplainPackage'),
  STATUS: token<StatusOptions>('StatusOptions'),
  ADMISSION: token<Admission>('Admission'),
  SERVICE: token<Service>('Service'),
};
