/** The port to a cache that can be filled before the first request. */
import type { PackageRequest } from '../reference.ts';

/** The cache of this process, or of a service that runs elsewhere. */
export interface PackageCache {
  /**
   * Fetches all of a package into the cache, verified; `onBytes` hears how many bytes each piece has. Resolves with whether
   * the package was cached before. Rejects when the cache does not have it then, or with the reason of `signal`.
   */
  fetch(request: PackageRequest, onBytes: (bytes: number) => void, signal: AbortSignal): Promise<boolean>;
  /** Whether the package is cached. */
  has(request: PackageRequest, signal: AbortSignal): Promise<boolean>;
}
