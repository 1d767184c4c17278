/** The port to what a repository publishes by name. */
import type { Tag } from '../tag.ts';
import type { Upstream } from '../upstream.ts';

/** Rejects with PackageUnknownError where there is no such repository or tag, and with the Upstream…Errors. */
export interface ImageCatalog {
  /** All tags in the registry's order, from all pages of its answer; at most 100 000. */
  listTags(upstream: Upstream, signal: AbortSignal): Promise<readonly string[]>;
  /**
   * The manifest or the index of a tag, 4 MiB at most, not parsed. No digest verifies it but the one that the registry may
   * name beside it.
   */
  fetchTagged(upstream: Upstream, tag: Tag, signal: AbortSignal): Promise<Uint8Array>;
}
