/** The port to a cache that can be filled before the first request. */
import type { PackageRequest } from '../reference.ts';

/** The cache of this process, or of a service in another process. */
export interface PackageCache {
  /**
   * Fetches a whole package into the cache and verifies it; `onBytes` gets the number of bytes of each piece. Resolves with
   * whether the package was cached before. Rejects if the package is not cached afterwards, or with the reason of `signal`.
   */
  fetch(request: PackageRequest, onBytes: (bytes: number) => void, signal: AbortSignal): Promise<boolean>;
  /** Whether the package is cached. */
  has(request: PackageRequest, signal: AbortSignal): Promise<boolean>;
}
