/** A registry that has the content of other registries, by host, as in containerd's hosts.toml. */
import { BoundedMap } from '../../domain/bounded-map.ts';
import { ANONYMOUS } from '../../domain/credential.ts';
import type { BlobSizes, ImageCatalog, RegistryGateway } from '../../domain/ports/registry-gateway.ts';
import { digestOf } from '../../domain/descriptor.ts';
import { CredentialsMissingError, isOneOf } from '../../domain/errors.ts';
import { registryKey, type RepositoryPath } from '../../domain/reference.ts';
import type { Registry, Upstream } from '../../domain/upstream.ts';
import type { Access, CredentialFiles, FollowedCredential } from './followed-credential.ts';
import type { Source } from './source.ts';

export interface MirrorSettings {
  /** The host of the mirrored registry; `*` for all. */
  readonly of: string;
  readonly scheme: 'http' | 'https';
  readonly host: string;
  /** The root of the API: a path without slashes at its ends, `v2` by default. */
  readonly root: string;
  /** PEM certificates that are trusted in addition to the default roots. */
  readonly ca: readonly string[];
  /** Undefined for anonymous access. */
  readonly files: CredentialFiles | undefined;
  /** Whether requests name the mirrored registry with `?ns=`. */
  readonly namespaceParameter: boolean;
  readonly fallback: boolean;
}

const OPEN: Access = { credential: ANONYMOUS };
const CHECKED_REPOSITORY = 'check-config' as RepositoryPath;
const CHECKED_DIGEST = digestOf(Buffer.from('check: no mirror has a manifest with these bytes'));

/** The limit for objects of the cluster; each registry has its own connections. */
const MAX_REGISTRIES = 100;

export class Mirror implements Source {
  readonly kind = 'mirror';
  readonly gateway: RegistryGateway & ImageCatalog & BlobSizes;
  readonly #settings: MirrorSettings;
  readonly #credential: FollowedCredential | undefined;
  /** One registry object for each mirrored host, until the credential changes. */
  readonly #registries = new BoundedMap<string, { readonly access: Access; readonly registry: Registry }>(
    MAX_REGISTRIES,
  );

  constructor(settings: MirrorSettings, gateway: Mirror['gateway'], credential?: FollowedCredential) {
    this.#settings = settings;
    this.#credential = credential;
    this.gateway = gateway;
  }

  get name(): string {
    return this.#settings.host;
  }

  get fallback(): boolean {
    return this.#settings.fallback;
  }

  locate({ registry, repository }: Upstream): Upstream | undefined {
    return this.#covers(registry) ? { registry: this.#registryFor(registry), repository } : undefined;
  }

  /**
   * Requests a manifest that no registry has. Rejects if the mirror does not answer, refuses the account, or wants one and
   * none is configured; without an account a mirror may refuse an unknown repository.
   */
  async check(signal: AbortSignal): Promise<void> {
    const { of, host, scheme } = this.#settings;
    const mirrored = of === '*' ? host : of;
    const registry = this.#registryFor({ scheme, host: mirrored, credential: ANONYMOUS, ca: [] });
    try {
      await this.gateway.fetchManifest({ registry, repository: CHECKED_REPOSITORY }, CHECKED_DIGEST, signal);
    } catch (error) {
      const isAnswer = isOneOf(error, 'MANIFEST_UNKNOWN', 'NAME_UNKNOWN', 'BLOB_UNKNOWN');
      const isStrange =
        this.#credential === undefined &&
        isOneOf(error, 'UPSTREAM_DENIED') &&
        !(error instanceof CredentialsMissingError);
      if (!isAnswer && !isStrange) throw error;
    }
  }

  /** `*` does not cover the registry of this cluster, which is nearer than any mirror. */
  #covers({ scheme, host, dialled }: Registry): boolean {
    const { of } = this.#settings;
    if (of === '*') return dialled === undefined;
    return registryKey(of, scheme) === registryKey(host, scheme);
  }

  #registryFor({ host: mirrored }: Registry): Registry {
    const access = this.#credential?.current ?? OPEN;
    const known = this.#registries.get(mirrored);
    if (known?.access === access) return known.registry;
    const { scheme, host, root, ca, namespaceParameter } = this.#settings;
    const { credential, token } = access;
    const api = { root, ...(namespaceParameter && { namespace: mirrored }), ...(token && { token }) };
    const registry: Registry = { scheme, host, credential, ca, api };
    this.#registries.set(mirrored, { access, registry });
    return registry;
  }
}
