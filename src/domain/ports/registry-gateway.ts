/** The ports to the registries that publish packages. */
import type { Descriptor, Digest } from '../descriptor.ts';
import type { ErrorCode, PackageError } from '../errors.ts';
import type { Registry, Upstream } from '../upstream.ts';
import type { RepositoryPath, Tag } from '../reference.ts';

export type Operation = 'manifest' | 'blob';

/** A place that has the content of registries, too, and is asked before them. */
export type SourceKind = 'mirror' | 'bucket';

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

/** The sizes of blobs that are asked for by their digest alone. */
export interface BlobSizes {
  /** Bytes of the blob as the upstream claims them. Rejects as `RegistryGateway.fetchBlob` does, and moves no blob. */
  blobSize(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<number>;
}

/** A manifest that refers to another one as its subject, by the type that the registry lists it with. */
export interface Referrer {
  readonly digest: Digest;
  readonly artifactType: string | undefined;
  /** Of the statement in a bundle of sigstore, as its publisher has noted it. */
  readonly predicateType: string | undefined;
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

/** The last answer of an upstream to one request, or its failure. */
export interface UpstreamAnswer {
  readonly operation: Operation;
  readonly host: string;
  readonly repository: RepositoryPath | undefined;
  readonly digest: Digest;
  readonly at: Date;
  /** `OK` when it began to answer; a blob that breaks off later is a failure then. */
  readonly code: 'OK' | ErrorCode | 'INTERNAL';
  /** In words for a client; empty when it answered. */
  readonly detail: string;
  /** In words for an operator, as in the log; undefined when there is no more to say. */
  readonly cause: string | undefined;
}

export interface UpstreamInspection {
  /** The latest first; with a registry, only the answers to the same credential. */
  answers(registry?: Registry): UpstreamAnswer[];
}

/** What is known of a source that is asked before registries. */
export interface SourceStatus {
  readonly kind: SourceKind;
  readonly name: string;
  /** Undefined while it is asked in its turn, and not last. */
  readonly resting: { readonly until: Date; readonly reason: string } | undefined;
  /** It failed or was slow, and has not answered well since. */
  readonly isFailing: boolean;
  /** Digests for which it is not asked, since it gave other bytes. */
  readonly distrusted: number;
}

export interface SourceInspection {
  /** In the order in which they are asked; with an upstream, only those that cover it. */
  sources(upstream?: Upstream): SourceStatus[];
  /** The kind of the source that last began to answer for a digest; undefined for the registry, or when that is not known. */
  servedBy(digest: Digest): SourceKind | undefined;
}
