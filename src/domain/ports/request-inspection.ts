/** The port to the outcomes of past requests. */
import type { Digest } from '../descriptor.ts';
import type { PackageRequest } from '../reference.ts';

/** Requests that failed for the same reason. */
export interface FailedRequests {
  /** Undefined if the request could not be parsed, because the text of a client is not stored. */
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
  /** The beginning of the minute. */
  readonly at: Date;
  readonly hits: number;
  /** Requests for packages that were not cached: misses, joined and bypassed ones. */
  readonly misses: number;
  /** Requests that failed, except those whose client left. */
  readonly failures: number;
  /** The bytes of the bodies that were sent. */
  readonly bytes: number;
}

/** Outcomes of requests for packages since the start. */
export interface RequestInspection {
  readonly outcomes: Readonly<Record<'hit' | 'miss' | 'joined' | 'bypass', number>>;
  /** Returns the failures, the latest first. */
  failures(): FailedRequests[];
  /** Returns the last 60 minutes, including the present one, the oldest first. */
  lastHour(): RequestMinute[];
  /** Returns a request by which this package was delivered; undefined if it is forgotten or from before the start. */
  requestFor(digest: Digest): PackageRequest | undefined;
}
