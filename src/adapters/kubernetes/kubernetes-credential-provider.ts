/** CredentialProvider over watched ModuleSources and the Secret of the default registry. */
import type { ConfiguredRegistry, CredentialInspection, CredentialSource } from '../../application/inspection.ts';
import { CredentialsPendingError, RepositoryUnknownError } from '../../domain/errors.ts';
import type { CredentialProvider } from '../../domain/ports/credential-provider.ts';
import { DEFAULT_REPOSITORY, type RepositoryName } from '../../domain/reference.ts';
import type { Upstream } from '../../domain/upstream.ts';
import type { ClusterAccess } from './cluster-access.ts';
import { ApiObjectSource, type ObjectSource } from './object-source.ts';
import type { Pace, ReflectorEvent } from './reflector.ts';
import type { IndexEvent } from './registry-index.ts';
import { parseDefaultRegistry, parseModuleSource, readModuleSource, readRegistrySecret } from './registry-objects.ts';
import { type KnownObjectsEvent, WatchedRegistries, type WatchedRegistriesOptions } from './watched-registries.ts';

export type ResourceName = 'modulesources' | 'secrets';

/** An event of one resource, for logs and metrics. */
export type ProviderEvent = (ReflectorEvent | IndexEvent | KnownObjectsEvent) & { readonly resource: ResourceName };

export interface KubernetesCredentialProviderOptions {
  readonly sources: Readonly<Record<ResourceName, ObjectSource>>;
  readonly onEvent: (event: ProviderEvent) => void;
  readonly pace?: Partial<Pace>;
}

export class KubernetesCredentialProvider implements CredentialProvider, CredentialInspection {
  readonly #moduleSources: WatchedRegistries;
  readonly #defaultRegistry: WatchedRegistries;

  constructor({ sources, onEvent, pace = {} }: KubernetesCredentialProviderOptions) {
    const watch = (
      resource: ResourceName,
      options: Pick<WatchedRegistriesOptions, 'read' | 'parse' | 'reserved'>,
      onOwnEvent: WatchedRegistriesOptions['onEvent'] = () => undefined,
    ): WatchedRegistries =>
      new WatchedRegistries({
        ...options,
        resource,
        source: sources[resource],
        onEvent: (event) => {
          onEvent({ ...event, resource });
          onOwnEvent(event);
        },
        pace,
      });
    this.#defaultRegistry = watch('secrets', { read: readRegistrySecret, parse: parseDefaultRegistry }, ({ kind }) => {
      if (kind === 'changed') this.#moduleSources.reassignNames();
    });
    this.#moduleSources = watch('modulesources', {
      read: readModuleSource,
      parse: parseModuleSource,
      // Every package of the platform comes by one of them, so no ModuleSource may take it.
      reserved: (name) => this.#defaultRegistry.ownerOf(name),
    });
  }

  start(): void {
    for (const watched of this.#watched) watched.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#watched.map((watched) => watched.stop()));
  }

  /** Resources whose first list has not arrived. */
  get pending(): readonly string[] {
    return this.#watched.filter(({ isPending }) => isPending).map(({ resource }) => resource);
  }

  /** Known objects stay known while the API server is away. */
  resolve(name: RepositoryName): Promise<Upstream> {
    const upstream = this.#defaultRegistry.find(name) ?? this.#moduleSources.find(name);
    if (upstream !== undefined) return Promise.resolve(upstream);
    if (this.pending.length > 0) return Promise.reject(new CredentialsPendingError());
    const message = name === DEFAULT_REPOSITORY ? 'no default registry is configured' : undefined;
    return Promise.reject(new RepositoryUnknownError(message));
  }

  sources(): CredentialSource[] {
    return this.#watched.map((watched) => watched.describe());
  }

  /** No name occurs twice: those of the default registry are reserved. */
  registries(): ConfiguredRegistry[] {
    return this.#watched.flatMap((watched) => watched.list());
  }

  get #watched(): readonly WatchedRegistries[] {
    return [this.#moduleSources, this.#defaultRegistry];
  }
}

/** The two resources; `secret` is that of the default registry. */
export function clusterResources(
  access: ClusterAccess,
  secret: { readonly namespace: string; readonly name: string },
): Readonly<Record<ResourceName, ObjectSource>> {
  return {
    modulesources: new ApiObjectSource(access, {
      kind: 'ModuleSource',
      path: '/apis/deckhouse.io/v1alpha1/modulesources',
    }),
    // The field selector is what lets a role that names the one Secret allow list and watch.
    secrets: new ApiObjectSource(access, {
      kind: 'Secret',
      path: `/api/v1/namespaces/${secret.namespace}/secrets`,
      query: { fieldSelector: `metadata.name=${secret.name}` },
    }),
  };
}
