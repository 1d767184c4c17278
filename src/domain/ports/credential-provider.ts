/** The ports to the configuration of registries. */
import type { RepositoryName } from '../reference.ts';
import type { Upstream, UpstreamDescription } from '../upstream.ts';

/** Resolves the name of a repository to its upstream and credential. The configuration may change at any time. */
export interface CredentialProvider {
  /** Rejects with RepositoryUnknownError, or with CredentialsPendingError before the first list has arrived. */
  resolve(name: RepositoryName): Promise<Upstream>;
}

/** A registry that requests can name, and the resource that defines it. */
export interface ConfiguredRegistry {
  /** `settings`, or the plural name of a Kubernetes resource. */
  readonly resource: string;
  /** The name of the object; undefined for the settings. */
  readonly object: string | undefined;
  /** The names by which requests may name the registry; the default registry has the empty name. */
  readonly names: readonly RepositoryName[];
  readonly upstream: UpstreamDescription;
}

/** A source of registry configuration. */
export interface CredentialSource {
  readonly resource: string;
  /** The time of the last complete list or read; undefined while it is pending. Later changes are known, too. */
  readonly listedAt: Date | undefined;
  /** The number of objects in the source. */
  readonly objects: number;
  /** Objects that cannot be used as they are, with the reason; for some the previous version stays in use. */
  readonly rejected: readonly { readonly object: string; readonly reason: string }[];
  /** The failure of its list or watch; undefined after the next list or the next event of the watch. */
  readonly failure: { readonly at: Date; readonly reason: string } | undefined;
}

export interface CredentialInspection {
  sources(): CredentialSource[];
  registries(): ConfiguredRegistry[];
}
