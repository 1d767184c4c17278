/** The state behind the ports that operators can see: cached blobs, downloads, registries, answers. Never a secret. */
import { userOf } from '../domain/credential.ts';
import type { Descriptor, Digest } from '../domain/descriptor.ts';
import type { ErrorCode } from '../domain/errors.ts';
import type { Package, PackageRequest, RepositoryName, RepositoryPath } from '../domain/reference.ts';
import type { BlobInfo } from '../domain/ports/package-store.ts';
import type { Operation } from '../domain/ports/registry-gateway.ts';
import type { DialledServer, Registry, Upstream } from '../domain/upstream.ts';
import type { SlotUsage } from './download-slots.ts';

/** Why a blob could not be stored: codes of the file system, no free inode, or room that readers hold on to. */
export const STORE_FAILURES = ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EMFILE', 'inodes', 'pinned', 'other'] as const;
export type StoreFailure = (typeof STORE_FAILURES)[number];

/** The usage of the store, for metrics and the status page. */
export interface StoreUsage {
  /** Allocated on the volume, and taken by the blocks that are being written. */
  readonly bytes: number;
  /** 0 when nothing can be kept. */
  readonly maxBytes: number;
  /** As much of `maxBytes` as the volume has room for. */
  readonly limitBytes: number;
  /** Since the start: blobs that could not be stored; none for a reason that is absent. */
  readonly failures: Readonly<Partial<Record<StoreFailure, number>>>;
  readonly entries: number;
  /** Since the start: removed to make room. */
  readonly evicted: number;
  /** Since the start: found missing, unreadable or with wrong bytes. */
  readonly damaged: number;
  /** Since the start: read again by the scrub. */
  readonly scrubbedBytes: number;
}

/** None of it counts as a use. */
export interface StoreInspection {
  readonly usage: StoreUsage;
  /** The most recently used first, at most this many: a person does not read a hundred thousand. */
  list(most: number): BlobInfo[];
}

/** A layer on its way into the store. */
export interface Download {
  /** The request of the client that began it. */
  readonly request: PackageRequest;
  readonly layer: Descriptor;
  readonly startedAt: Date;
  /** Bytes received so far. */
  readonly bytes: number;
  /** Clients that wait for it or read it. */
  readonly clients: number;
  /** Whether it waits for a slot, because as many downloads run as may. */
  readonly isQueued: boolean;
}

export interface DownloadInspection {
  /** The slots of downloads into the store and of those that bypass it. */
  readonly slots: SlotUsage;
  /** The oldest first. */
  list(): Download[];
}

/** An upstream without what opens it. */
export interface UpstreamDescription {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly repository: RepositoryPath | undefined;
  readonly credential: { readonly kind: 'anonymous' | 'basic' | 'identity'; readonly user: string | undefined };
  /** Certificates that are trusted besides the default roots. */
  readonly certificates: number;
  /** The server that answers for `host`, where that is another one; credential and certificates are those of the server. */
  readonly dialled?: Pick<DialledServer, 'by' | 'host'>;
}

export function describeUpstream({ registry, repository }: Upstream): UpstreamDescription {
  const { scheme, host, credential, ca, dialled } = registry;
  return {
    scheme,
    host,
    repository,
    credential: { kind: credential.kind, user: userOf(credential) },
    certificates: ca.length,
    ...(dialled && { dialled: { by: dialled.by, host: dialled.host } }),
  };
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

/** Requests that failed for one reason. */
export interface FailedRequests {
  /** Undefined when the request could not be understood: what the client wrote is not kept. */
  readonly request: PackageRequest | undefined;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly cause: string | undefined;
  readonly count: number;
  readonly firstAt: Date;
  readonly lastAt: Date;
}

/** Outcomes of requests for packages since the start. */
export interface RequestInspection {
  readonly outcomes: Readonly<Record<'hit' | 'miss' | 'joined' | 'bypass', number>>;
  /** The latest first. */
  failures(): FailedRequests[];
}

export interface PackageInspection {
  /** The packages of requested digests since the start; the first to be known first. */
  known(): Package[];
}

/** All of it. */
export interface Inspection {
  readonly store: StoreInspection;
  readonly packages: PackageInspection;
  readonly downloads: DownloadInspection;
  readonly credentials: CredentialInspection;
  readonly upstreams: UpstreamInspection;
  readonly requests: RequestInspection;
}
