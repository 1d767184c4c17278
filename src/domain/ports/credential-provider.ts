/** The ports to the configuration of registries. */
import type { RepositoryName } from '../reference.ts';
import type { Upstream, UpstreamDescription } from '../upstream.ts';

/** Knows, from configuration that may change at any time, where each named repository is and how to enter it. */
export interface CredentialProvider {
  /** Rejects with RepositoryUnknownError, or CredentialsPendingError while the first list has not arrived. */
  resolve(name: RepositoryName): Promise<Upstream>;
}

/** A registry that requests can name, and the resource that defines it. */
export interface ConfiguredRegistry {
  /** `settings`, or the plural of a Kubernetes resource. */
  readonly resource: string;
  /** The object's name; undefined for the settings. */
  readonly object: string | undefined;
  /** How requests may name it; the empty name is that of the default registry. */
  readonly names: readonly RepositoryName[];
  readonly upstream: UpstreamDescription;
}

/** Where registries are configured. */
export interface CredentialSource {
  readonly resource: string;
  /** When it was last listed whole, or read; undefined while it is pending. Changes since then are known, too. */
  readonly listedAt: Date | undefined;
  /** Objects in it. */
  readonly objects: number;
  /** Objects that cannot be used as they are, and why; some go on being what they were before. */
  readonly rejected: readonly { readonly object: string; readonly reason: string }[];
  /** The failure of its list or watch; undefined once it is listed again, or its watch tells an event. */
  readonly failure: { readonly at: Date; readonly reason: string } | undefined;
}

export interface CredentialInspection {
  sources(): CredentialSource[];
  registries(): ConfiguredRegistry[];
}
