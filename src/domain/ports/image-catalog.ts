/** The port to what a repository publishes by name. */
import type { Digest } from '../descriptor.ts';
import type { Tag } from '../reference.ts';
import type { Upstream } from '../upstream.ts';

/** A manifest that refers to another one as its subject, by the type that the registry lists it with. */
export interface Referrer {
  readonly digest: Digest;
  readonly artifactType: string | undefined;
}

/** Rejects with PackageUnknownError where there is no such repository or tag, and with the Upstream…Errors. */
export interface ImageCatalog {
  /** All tags in the registry's order, from all pages of its answer; at most 100 000. */
  listTags(upstream: Upstream, signal: AbortSignal): Promise<readonly string[]>;
  /**
   * The manifest or the index of a tag, 4 MiB at most, not parsed. No digest verifies it but the one that the registry may
   * name beside it.
   */
  fetchTagged(upstream: Upstream, tag: Tag, signal: AbortSignal): Promise<Uint8Array>;
  /**
   * The manifests that refer to `subject`, the first 1000 at most; empty when there are none. A registry without a list of
   * referrers is asked for the tag under which clients keep one (distribution-spec, "Referrers Tag Schema").
   */
  listReferrers(upstream: Upstream, subject: Digest, signal: AbortSignal): Promise<readonly Referrer[]>;
}
