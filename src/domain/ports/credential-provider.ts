/** The port to the configuration of registries. */
import type { RepositoryName } from '../reference.ts';
import type { Upstream } from '../upstream.ts';

/** Knows, from configuration that may change at any time, where each named repository is and how to enter it. */
export interface CredentialProvider {
  /** Rejects with RepositoryUnknownError, or CredentialsPendingError while the first list has not arrived. */
  resolve(name: RepositoryName): Promise<Upstream>;
}
