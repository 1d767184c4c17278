/** CredentialProvider that watches ModuleSources, PackageRepositories and the objects of the default registry. */
import type {
  ConfiguredRegistry,
  CredentialInspection,
  CredentialProvider,
  CredentialSource,
} from '../../domain/ports/credential-provider.ts';
import { CredentialsPendingError, RepositoryUnknownError, UpstreamUnavailableError } from '../../domain/errors.ts';
import { DEFAULT_REPOSITORY, parseRepositoryName, type RepositoryName } from '../../domain/reference.ts';
import type { Registry, Upstream } from '../../domain/upstream.ts';
import { AgentCa, type AgentCaOptions } from './agent-ca.ts';
import type { ClusterAccess } from './cluster-access.ts';
import { dial, isClusterRegistry, type Ways } from './cluster-registry.ts';
import { ApiObjectSource, type ObjectSource } from './object-source.ts';
import type { Pace, ReflectorEvent } from './reflector.ts';
import type { IndexEvent } from './registry-index.ts';
import {
  parseDefaultRegistry,
  parseModuleSource,
  parsePackageRepository,
  readImageAddress,
  readRegistrySecret,
  readSpecRegistry,
  readStoreAccount,
  STORE,
  unlessEmpty,
} from './registry-objects.ts';
import { type KnownObjectsEvent, WatchedRegistries, type WatchedRegistriesOptions } from './watched-registries.ts';

/** `secrets`: the Secret of the default registry; `configmaps`: its address; `storagesecrets`: the account of the store. */
export type ResourceName = 'modulesources' | 'secrets' | 'configmaps' | 'storagesecrets' | 'packagerepositories';

/** An event of one resource, for logs and metrics. */
export type ProviderEvent = (ReflectorEvent | IndexEvent | KnownObjectsEvent) & { readonly resource: ResourceName };

interface KubernetesCredentialProviderOptions {
  readonly sources: Readonly<Record<ResourceName, ObjectSource>>;
  readonly onEvent: (event: ProviderEvent) => void;
  readonly pace?: Partial<Pace>;
  readonly agent: AgentOptions;
}

/** The registry agent of this machine. */
export interface AgentOptions extends Pick<Ways, 'storeOnRefusal'> {
  readonly ca: AgentCaOptions['file'];
  readonly onUnusableCa: AgentCaOptions['onUnusable'];
}

/** The registry to connect to, and the ways from which it was chosen. While the ways are the same, the object is reused. */
interface Dialled extends Ways {
  readonly registry: Registry;
}

export class KubernetesCredentialProvider implements CredentialProvider, CredentialInspection {
  readonly #moduleSources: WatchedRegistries;
  /** The Secret of the default registry. */
  readonly #secret: WatchedRegistries;
  /** The ConfigMap that replaces the Secret. */
  readonly #imageAddress: WatchedRegistries;
  readonly #store: WatchedRegistries;
  readonly #packageRepositories: WatchedRegistries;
  readonly #agentCa: AgentCa;
  readonly #storeOnRefusal: boolean;
  /** Keyed by the registry as recorded. */
  readonly #dialled = new WeakMap<Registry, Dialled>();

  constructor({ sources, onEvent, pace = {}, agent }: KubernetesCredentialProviderOptions) {
    this.#agentCa = new AgentCa({ file: agent.ca, onUnusable: agent.onUnusableCa });
    this.#storeOnRefusal = agent.storeOnRefusal;
    const watch = (
      resource: ResourceName,
      options: Pick<WatchedRegistriesOptions, 'read' | 'parse' | 'reserved' | 'isOptional'>,
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
    const reassignNames: WatchedRegistriesOptions['onEvent'] = ({ kind }) => {
      if (kind === 'changed') this.#moduleSources.reassignNames();
    };
    this.#secret = watch('secrets', { read: readRegistrySecret, parse: parseDefaultRegistry }, reassignNames);
    this.#imageAddress = watch(
      'configmaps',
      { read: readImageAddress, parse: unlessEmpty(parseDefaultRegistry), isOptional: true },
      reassignNames,
    );
    this.#store = watch('storagesecrets', {
      read: readStoreAccount,
      parse: unlessEmpty(parseModuleSource),
      isOptional: true,
    });
    this.#moduleSources = watch('modulesources', {
      read: readSpecRegistry,
      parse: parseModuleSource,
      // No ModuleSource may use a name of the default registry, because all packages of the platform come from it.
      reserved: (name) => this.#defaultRegistry?.ownerOf(name),
    });
    this.#packageRepositories = watch('packagerepositories', {
      read: readSpecRegistry,
      parse: parsePackageRepository,
      isOptional: true,
    });
  }

  start(): void {
    for (const watched of this.#watched) watched.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#watched.map((watched) => watched.stop()));
  }

  /** The resources without a first list that the service needs to be ready. A ConfigMap makes the Secret unnecessary. */
  get pending(): readonly string[] {
    const needed = this.#imageAddress.hasRegistry ? [this.#moduleSources] : [this.#moduleSources, this.#secret];
    return needed.filter(({ isPending }) => isPending).map(({ resource }) => resource);
  }

  /** Uses the known objects while the API server cannot be reached. */
  async resolve(name: RepositoryName): Promise<Upstream> {
    return this.#reached(this.#recorded(name));
  }

  /** Finds only PackageRepositories, by their names. Requests for packages cannot use these names. */
  get packageRepositories(): CredentialProvider {
    return {
      resolve: async (name) => {
        const recorded = this.#packageRepositories.find(name);
        if (recorded !== undefined) return this.#reached(recorded);
        if (this.#packageRepositories.isPending) throw new CredentialsPendingError();
        throw new RepositoryUnknownError();
      },
    };
  }

  async #reached(recorded: Upstream): Promise<Upstream> {
    if (!isClusterRegistry(recorded.registry)) return recorded;
    const agentCa = await this.#agentCa.read();
    if (agentCa === undefined && this.#store.isPending) throw new CredentialsPendingError();
    const store = this.#store.find(parseRepositoryName(STORE))?.registry;
    return {
      ...recorded,
      registry: this.#dial(recorded.registry, { agentCa, store, storeOnRefusal: this.#storeOnRefusal }),
    };
  }

  sources(): CredentialSource[] {
    return this.#watched.map((watched) => watched.describe());
  }

  /** Each name occurs once, because the names of the default registry are reserved. */
  registries(): ConfiguredRegistry[] {
    return [this.#moduleSources, this.#defaultRegistry].flatMap((watched) => watched?.list() ?? []);
  }

  #recorded(name: RepositoryName): Upstream {
    const byDefault = this.#defaultRegistry;
    const upstream = byDefault?.find(name) ?? this.#moduleSources.find(name);
    if (upstream !== undefined) return upstream;
    if (byDefault === undefined || byDefault.isPending || this.#moduleSources.isPending)
      throw new CredentialsPendingError();
    // An operator can correct the object, so a node is to ask again. Any name may be that of the default registry.
    const unusable = byDefault.unusable() ?? this.#moduleSources.unusable(name);
    if (unusable !== undefined) {
      throw new UpstreamUnavailableError('configuration of the registry cannot be used', {
        cause: new Error(unusable),
      });
    }
    throw new RepositoryUnknownError(name === DEFAULT_REPOSITORY ? 'no default registry is configured' : undefined);
  }

  /** Connections and tokens belong to a registry object, so only a changed CA or account makes a new object. */
  #dial(recorded: Registry, ways: Ways): Registry {
    const before = this.#dialled.get(recorded);
    if (before !== undefined && before.agentCa === ways.agentCa && before.store === ways.store) return before.registry;
    const registry = dial(recorded, ways);
    this.#dialled.set(recorded, { ...ways, registry });
    return registry;
  }

  /**
   * The ConfigMap if it has a registry, even an unusable one; otherwise the Secret. Undefined until it is known whether there
   * is a ConfigMap, because the account of the Secret must not be sent if there is one.
   */
  get #defaultRegistry(): WatchedRegistries | undefined {
    if (this.#imageAddress.isPending) return undefined;
    return this.#imageAddress.hasRegistry ? this.#imageAddress : this.#secret;
  }

  get #watched(): readonly WatchedRegistries[] {
    return [this.#moduleSources, this.#secret, this.#imageAddress, this.#store, this.#packageRepositories];
  }
}

/** The watched resources. `secret` is the Secret of the default registry; the related objects are in its namespace. */
export function clusterResources(
  access: ClusterAccess,
  secret: { readonly namespace: string; readonly name: string },
): Readonly<Record<ResourceName, ObjectSource>> {
  // With this field selector, a role for only this object allows list and watch.
  const named = (kind: 'Secret' | 'ConfigMap', name: string): ObjectSource =>
    new ApiObjectSource(access, {
      kind,
      path: `/api/v1/namespaces/${secret.namespace}/${kind.toLowerCase()}s`,
      query: { fieldSelector: `metadata.name=${name}` },
    });
  const ofPlatform = (kind: string, plural: string): ObjectSource =>
    new ApiObjectSource(access, { kind, path: `/apis/deckhouse.io/v1alpha1/${plural}` });
  return {
    modulesources: ofPlatform('ModuleSource', 'modulesources'),
    secrets: named('Secret', secret.name),
    configmaps: named('ConfigMap', 'registry-image-address'),
    storagesecrets: named('Secret', 'registry-storage-access'),
    packagerepositories: ofPlatform('PackageRepository', 'packagerepositories'),
  };
}
