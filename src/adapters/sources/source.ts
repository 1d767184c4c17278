/** A place that may have the content of registries nearer, such as a mirror; it is asked before the registry itself. */
import type { Digest } from '../../domain/descriptor.ts';
import type { RegistryGateway, SourceKind } from '../../domain/ports/registry-gateway.ts';
import type { Upstream } from '../../domain/upstream.ts';
import type { Repair } from './repair.ts';

export interface Source {
  readonly kind: SourceKind;
  /** The host, for the log and for operators; it contains no secret. */
  readonly name: string;
  readonly gateway: RegistryGateway;
  /** False if the registry must not be asked for upstreams of this source. */
  readonly fallback: boolean;
  /** Returns the location of an upstream's content in this source; undefined if it does not cover the upstream. */
  locate(upstream: Upstream): Upstream | undefined;
  /** Called with a digest for which this source sent wrong bytes, and the content for its repair. */
  onDistrusted?(digest: Digest, repair: Repair): void;
}

/** A digest to fetch. */
export interface Wanted {
  readonly digest: Digest;
  readonly repair: Repair;
}

/** Why another place is asked instead of a source. */
export const SWITCH_REASONS = ['absent', 'failed', 'late', 'slow', 'distrusted', 'resting'] as const;

export interface SourceSwitch {
  readonly source: Pick<Source, 'kind' | 'name'>;
  readonly reason: (typeof SWITCH_REASONS)[number];
  readonly digest: Digest;
  /** Undefined if the source sent no error. */
  readonly error: unknown;
}

export type SourceObserver = (event: SourceSwitch) => void;

export interface SourceLimits {
  /** The milliseconds without an answer after which the next source is asked, too. */
  readonly patienceMs: number;
  /** Bytes per second; if a second brings fewer, the rest of a blob comes from another place. */
  readonly minimumRate: number;
  /** The milliseconds for which a source is asked last after it failed or was slow. */
  readonly restMs: number;
}
