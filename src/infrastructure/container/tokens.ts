/** The tokens of the container, each with the type of its value: a swapped pair does not compile. */
import type { ServiceIdentifier } from 'inversify';
import type { Logger } from 'pino';
import type { Counter, Registry } from 'prom-client';
import type { PackageUseCases } from '../../adapters/http/package/package-route.ts';
import type { RequestHistory } from '../../adapters/http/server/request-record.ts';
import type { Admission } from '../../adapters/http/server/admission.ts';
import type { StatusOptions } from '../../adapters/http/status/status-route.ts';
import type { KubernetesCredentialProvider } from '../../adapters/kubernetes/kubernetes-credential-provider.ts';
import type { ExplainPackage } from '../../application/explain-package.ts';
import type { GetIcon } from '../../application/get-icon.ts';
import type { GetImage } from '../../application/get-image.ts';
import type { GetLayerFile } from '../../application/get-layer-file.ts';
import type { GetPackage } from '../../application/get-package.ts';
import type { CredentialInspection, CredentialProvider } from '../../domain/ports/credential-provider.ts';
import type { Inspection } from '../../adapters/http/status/parts.ts';
import type { PackageStore, StoreInspection } from '../../domain/ports/package-store.ts';
import type { ImageCatalog, RegistryGateway, UpstreamInspection } from '../../domain/ports/registry-gateway.ts';
import type { PackageResolver, ResolvePackage } from '../../application/resolve-package.ts';
import type { ResolveSignedPackage } from '../../application/resolve-signed-package.ts';
import type { Component, Service, ShutdownSignals } from '../lifecycle.ts';
import type { Settings } from '../settings.ts';

/** The values that every module is made of. */
export interface ContainerInputs {
  readonly settings: Settings;
  readonly logger: Logger;
  readonly version: string;
  /** For the proxy variables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

function token<Type>(name: string): ServiceIdentifier<Type> {
  return Symbol(name);
}

export const SETTINGS = token<Settings>('Settings');
export const LOGGER = token<Logger>('Logger');
export const SHUTDOWN = token<ShutdownSignals>('ShutdownSignals');
export const METRICS = token<Registry>('Registry of metrics');
export const MISMATCHES = token<Counter>('Counter of digest mismatches');

/** For operators: what the port's adapter is doing. */
export const STORE_INSPECTION = token<StoreInspection>('StoreInspection');
export const UPSTREAM_INSPECTION = token<UpstreamInspection>('UpstreamInspection');
export const CREDENTIAL_INSPECTION = token<CredentialInspection>('CredentialInspection');
export const INSPECTION = token<Inspection>('Inspection');

export const PACKAGE_STORE = token<PackageStore>('PackageStore');
export const REGISTRY_GATEWAY = token<RegistryGateway>('RegistryGateway');
export const CREDENTIAL_PROVIDER = token<CredentialProvider>('CredentialProvider');
/** The upstreams of PackageRepositories, by their names. */
export const PACKAGE_REPOSITORIES = token<CredentialProvider>('CredentialProvider of PackageRepositories');
export const WATCHED_CREDENTIALS = token<KubernetesCredentialProvider>('KubernetesCredentialProvider');
/** The lifecycle of the adapter behind each port. */
export const STORE_COMPONENT = token<Component>('Component of PackageStore');
export const GATEWAY_COMPONENT = token<Component>('Component of RegistryGateway');
export const CREDENTIALS_COMPONENT = token<Component>('Component of CredentialProvider');

export const RESOLVE_PACKAGE = token<ResolvePackage>('ResolvePackage');
/** ResolvePackage, behind the verification of signatures where there is one. */
export const PACKAGE_RESOLVER = token<PackageResolver>('PackageResolver');
/** Undefined where signatures are not verified. */
export const SIGNATURES = token<ResolveSignedPackage | undefined>('ResolveSignedPackage');
export const GET_PACKAGE = token<GetPackage>('GetPackage');
export const IMAGE_CATALOG = token<ImageCatalog>('ImageCatalog');
export const IMAGES = token<GetImage>('GetImage');
export const ICONS = token<Pick<GetIcon, 'execute'>>('GetIcon');
export const LAYER_FILES = token<GetLayerFile>('GetLayerFile');
export const REQUEST_HISTORY = token<RequestHistory>('RequestHistory');
export const PACKAGES = token<PackageUseCases>('PackageUseCases');
export const EXPLAIN_PACKAGE = token<ExplainPackage>('ExplainPackage');
export const STATUS = token<StatusOptions>('StatusOptions');
export const ADMISSION = token<Admission>('Admission');
export const SERVICE = token<Service>('Service');
