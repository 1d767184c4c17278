/** CredentialProvider over watched ModuleSources and the Secret of the default registry. */
import { KubeConfig } from '@kubernetes/client-node';
import { CredentialsPendingError, RepositoryUnknownError } from '../../domain/errors.ts';
import type { CredentialProvider } from '../../domain/ports/credential-provider.ts';
import { DEFAULT_REPOSITORY, type RepositoryName } from '../../domain/reference.ts';
import type { Upstream } from '../../domain/upstream.ts';
import { ApiObjectSource, type ObjectSource } from './object-source.ts';
import { type Pace, Reflector, type ReflectorEvent } from './reflector.ts';
import { type IndexEvent, RegistryIndex } from './registry-index.ts';
import { parseDefaultRegistry, parseModuleSource, readModuleSource, readRegistrySecret } from './registry-objects.ts';

export type ResourceName = 'modulesources' | 'secrets';

/** What happened to which resource, for logs and metrics. */
export type ProviderEvent = (ReflectorEvent | IndexEvent) & { readonly resource: ResourceName };

export interface KubernetesCredentialProviderOptions {
  readonly sources: Readonly<Record<ResourceName, ObjectSource>>;
  readonly onEvent: (event: ProviderEvent) => void;
  readonly pace?: Partial<Pace>;
}

export class KubernetesCredentialProvider implements CredentialProvider {
  readonly #moduleSources: RegistryIndex;
  readonly #defaultRegistry: RegistryIndex;
  readonly #reflectors: readonly Reflector[];
  /** Resources whose first list has not arrived. */
  readonly #pending = new Set<ResourceName>(['modulesources', 'secrets']);

  constructor({ sources, onEvent, pace = {} }: KubernetesCredentialProviderOptions) {
    const tell =
      (resource: ResourceName) =>
      (event: ReflectorEvent | IndexEvent): void => {
        onEvent({ ...event, resource });
      };
    this.#moduleSources = new RegistryIndex(readModuleSource, parseModuleSource, tell('modulesources'));
    this.#defaultRegistry = new RegistryIndex(readRegistrySecret, parseDefaultRegistry, tell('secrets'));
    const reflect = (resource: ResourceName, index: RegistryIndex): Reflector =>
      new Reflector({
        source: sources[resource],
        onEvent: tell(resource),
        onChange: (objects) => {
          index.update(objects);
          this.#pending.delete(resource);
        },
        pace,
      });
    this.#reflectors = [reflect('modulesources', this.#moduleSources), reflect('secrets', this.#defaultRegistry)];
  }

  start(): void {
    for (const reflector of this.#reflectors) reflector.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#reflectors.map((reflector) => reflector.stop()));
  }

  /** Whose first list has not arrived. */
  get pending(): readonly ResourceName[] {
    return [...this.#pending];
  }

  /** What is known stays known while the API server is away. */
  resolve(name: RepositoryName): Promise<Upstream> {
    const upstream = this.#moduleSources.find(name) ?? this.#defaultRegistry.find(name);
    if (upstream !== undefined) return Promise.resolve(upstream);
    if (this.#pending.size > 0) return Promise.reject(new CredentialsPendingError());
    const message = name === DEFAULT_REPOSITORY ? 'no default registry is configured' : undefined;
    return Promise.reject(new RepositoryUnknownError(message));
  }
}

/** In-cluster configuration when no file is given. Proxy variables play no part in either. Throws when it names no server. */
export function loadKubeConfig(file: string | undefined): KubeConfig {
  const config = new KubeConfig();
  if (file === undefined) config.loadFromCluster();
  else config.loadFromFile(file);
  // The library makes "https://undefined:undefined" of a cluster that is not there.
  if (!URL.canParse(config.getCurrentCluster()?.server ?? '')) {
    throw new Error(
      file === undefined
        ? 'not in a cluster: credentials.kubernetes.kubeconfig (--kubeconfig) says how to reach one'
        : `${file}: the current context has no server`,
    );
  }
  return config;
}

/** The two resources; `secret` is that of the default registry. */
export function clusterResources(
  config: KubeConfig,
  secret: { readonly namespace: string; readonly name: string },
): Readonly<Record<ResourceName, ObjectSource>> {
  return {
    modulesources: new ApiObjectSource(config, '/apis/deckhouse.io/v1alpha1/modulesources'),
    // The field selector is what lets a role that names the one Secret allow list and watch.
    secrets: new ApiObjectSource(config, `/api/v1/namespaces/${secret.namespace}/secrets`, {
      fieldSelector: `metadata.name=${secret.name}`,
    }),
  };
}
