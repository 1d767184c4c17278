/** The port to wherever packages are published. */
import type { Descriptor, Digest } from '../descriptor.ts';
import type { PackageError } from '../errors.ts';
import type { Upstream } from '../upstream.ts';

export type Operation = 'manifest' | 'blob';

/** Content as an upstream has it, not yet verified. Rejects with PackageUnknownError and the Upstream…Errors. */
export interface RegistryGateway {
  /** A manifest or an index, 4 MiB at most. */
  fetchManifest(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<Uint8Array>;
  /**
   * The bytes from `offset` on, so that a broken download can go on where it stopped; leaving the iteration ends it. A chunk
   * is valid until the next one is asked for.
   */
  fetchBlob(
    upstream: Upstream,
    blob: Descriptor,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>>;
  /**
   * The error with which a fetch of this digest would be refused now without a request, as when the upstream has asked for a
   * longer wait than a client has; undefined when the upstream would be asked.
   */
  knownRefusal(upstream: Upstream, operation: Operation, digest: Digest): PackageError | undefined;
}
