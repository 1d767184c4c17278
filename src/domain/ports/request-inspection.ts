/** The port to the outcomes of past requests. */
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

/** Outcomes of requests for packages since the start. */
export interface RequestInspection {
  readonly outcomes: Readonly<Record<'hit' | 'miss' | 'joined' | 'bypass', number>>;
  /** The latest first. */
  failures(): FailedRequests[];
}
