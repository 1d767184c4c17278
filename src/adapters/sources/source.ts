/** A place that may have the content of registries nearer, such as a mirror; it is asked before the registry itself. */
import type { Digest } from '../../domain/descriptor.ts';
import type { RegistryGateway, SourceKind } from '../../domain/ports/registry-gateway.ts';
import type { Upstream } from '../../domain/upstream.ts';
import type { Repair } from './repair.ts';

export interface Source {
  readonly kind: SourceKind;
  /** A host, for the log and for operators. It holds no secret. */
  readonly name: string;
  readonly gateway: RegistryGateway;
  /** False where the registry must not be asked for what this source covers. */
  readonly fallback: boolean;
  /** Where this source has the content of an upstream; undefined when it does not cover the upstream. */
  locate(upstream: Upstream): Upstream | undefined;
  /** Hears of a digest for which this source gave other bytes, and from where it can get the right ones. */
  onDistrusted?(digest: Digest, repair: Repair): void;
}

/** A digest that places are asked for. */
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
  /** Undefined where the source gave none. */
  readonly error: unknown;
}

export type SourceObserver = (event: SourceSwitch) => void;

export interface SourceLimits {
  /** After so many milliseconds without an answer the next source is asked as well. */
  readonly patienceMs: number;
  /** Bytes a second; with less over a second the rest of a blob comes from elsewhere. */
  readonly minimumRate: number;
  /** For so many milliseconds a source that failed or was slow is asked last. */
  readonly restMs: number;
}
