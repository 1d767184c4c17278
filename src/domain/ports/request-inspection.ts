/** The port to the outcomes of past requests. */
import type { Digest } from '../descriptor.ts';
import type { PackageRequest } from '../reference.ts';

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

/** The requests for packages that ended within one minute. */
export interface RequestMinute {
  /** Its beginning. */
  readonly at: Date;
  readonly hits: number;
  /** Packages that were not cached: misses, joined and bypassed ones. */
  readonly misses: number;
  /** Requests that failed, but for those whose client left. */
  readonly failures: number;
  /** Bytes of bodies that were sent. */
  readonly bytes: number;
}

/** Outcomes of requests for packages since the start. */
export interface RequestInspection {
  readonly outcomes: Readonly<Record<'hit' | 'miss' | 'joined' | 'bypass', number>>;
  /** The latest first. */
  failures(): FailedRequests[];
  /** The last 60 minutes, this one included, the oldest first. */
  lastHour(): RequestMinute[];
  /** A request by which this package was delivered; undefined when it is too long ago, or before the start. */
  requestFor(digest: Digest): PackageRequest | undefined;
}
