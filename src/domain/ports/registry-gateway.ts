/** The ports to the registries that publish packages. */
import type { Descriptor, Digest } from '../descriptor.ts';
import type { ErrorCode, PackageError } from '../errors.ts';
import type { Registry, Upstream } from '../upstream.ts';
import type { RepositoryPath, Tag } from '../reference.ts';

export type Operation = 'manifest' | 'blob';

/** The kind of a source: it has content of registries and is asked before them. */
export type SourceKind = 'mirror' | 'bucket';

/** Fetches content from an upstream without verifying it. Rejects with PackageUnknownError and the Upstream…Errors. */
export interface RegistryGateway {
  /** Resolves with a manifest or an index of at most 4 MiB. */
  fetchManifest(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<Uint8Array>;
  /**
   * Resolves with the bytes from `offset` on, so that a broken download can continue; leaving the iteration ends the
   * download. Each chunk is valid until the next one is requested.
   */
  fetchBlob(
    upstream: Upstream,
    blob: Descriptor,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>>;
  /**
   * Returns the error with which a fetch of this digest would fail now without a request, for example because the upstream
   * asked for a longer wait than a client has; undefined if the upstream would be asked.
   */
  knownRefusal(upstream: Upstream, operation: Operation, digest: Digest): PackageError | undefined;
}

/** Finds the size of a blob that is known by its digest alone. */
export interface BlobSizes {
  /**
   * Resolves with the size in bytes that the upstream claims, without a download. Rejects as `RegistryGateway.fetchBlob`
   * does.
   */
  blobSize(upstream: Upstream, digest: Digest, signal: AbortSignal): Promise<number>;
}

/** A manifest that refers to another one as its subject, with its type in the list of the registry. */
export interface Referrer {
  readonly digest: Digest;
  readonly artifactType: string | undefined;
  /** The predicate type of the statement in a sigstore bundle, as the publisher has noted it. */
  readonly predicateType: string | undefined;
}

/** Rejects with PackageUnknownError if there is no such repository or tag, and with the Upstream…Errors. */
export interface ImageCatalog {
  /** Resolves with all tags in the registry's order, from all pages of its answer; at most 100 000. */
  listTags(upstream: Upstream, signal: AbortSignal): Promise<readonly string[]>;
  /**
   * Resolves with the unparsed manifest or index of a tag, at most 4 MiB. Only a digest from the registry's answer can
   * verify it.
   */
  fetchTagged(upstream: Upstream, tag: Tag, signal: AbortSignal): Promise<Uint8Array>;
  /**
   * Resolves with at most the first 1000 manifests that refer to `subject`. If a registry has no referrers API, the fallback
   * tag is read under which clients keep the list (distribution-spec, "Referrers Tag Schema").
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
  /** `OK` if the upstream began to answer; a blob that breaks off later becomes a failure. */
  readonly code: 'OK' | ErrorCode | 'INTERNAL';
  /** The reason for a client; empty if the upstream answered. */
  readonly detail: string;
  /** The reason for an operator, as in the log; undefined if there is none. */
  readonly cause: string | undefined;
}

export interface UpstreamInspection {
  /** Returns the answers, the latest first; with `registry` only those to the same credential. */
  answers(registry?: Registry): UpstreamAnswer[];
}

/** The status of a source that is asked before registries. */
export interface SourceStatus {
  readonly kind: SourceKind;
  readonly name: string;
  /** Undefined while the source is asked in its order; otherwise it is asked last. */
  readonly resting: { readonly until: Date; readonly reason: string } | undefined;
  /** Whether it failed or was slow, and has not given a good answer since. */
  readonly isFailing: boolean;
  /** The number of digests for which it is not asked, because it sent wrong bytes. */
  readonly distrusted: number;
}

export interface SourceInspection {
  /** Returns the sources in the order of asking; with `upstream` only those that cover it. */
  sources(upstream?: Upstream): SourceStatus[];
  /**
   * Returns the kind of the source that last began to answer for a digest; undefined for the registry, or if it is not
   * known.
   */
  servedBy(digest: Digest): SourceKind | undefined;
}
