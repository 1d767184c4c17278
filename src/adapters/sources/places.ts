/** Decides which places are asked for a digest and in which order, by the known state of sources and registries. */
import type { Digest } from '../../domain/descriptor.ts';
import {
  DigestMismatchError,
  InvalidContentError,
  PackageUnknownError,
  UpstreamDeniedError,
  UpstreamUnavailableError,
  WrongSizeError,
} from '../../domain/errors.ts';
import type { RegistryGateway, SourceKind, SourceStatus } from '../../domain/ports/registry-gateway.ts';
import type { Registry, Upstream } from '../../domain/upstream.ts';
import { TooSlowError } from './paced.ts';
import type { Source, SourceLimits, SourceObserver, Wanted } from './source.ts';
import { SourceState } from './source-state.ts';

/** A place that can be asked for one digest. */
export interface Place {
  /** Undefined for the registry itself. */
  readonly source: Source | undefined;
  readonly state: SourceState;
  readonly gateway: RegistryGateway;
  readonly upstream: Upstream;
  readonly isResting: boolean;
}

interface PlacesOptions {
  readonly origin: RegistryGateway;
  /** In the order of asking. */
  readonly sources: readonly Source[];
  readonly limits: SourceLimits;
  readonly observe: SourceObserver;
  /** The milliseconds of a monotonic clock. */
  readonly now: () => number;
}

/** A mirror cannot report a repair, so it is asked for the digest again after this time. */
const MIRROR_DISTRUST_MS = 3_600_000;
const NOT_TOLD: SourceObserver = () => undefined;

export class Places {
  readonly #options: PlacesOptions;
  readonly #states = new Map<Source, SourceState>();
  readonly #origins = new WeakMap<Registry, SourceState>();

  constructor(options: PlacesOptions) {
    this.#options = options;
    for (const source of options.sources) this.#states.set(source, this.#newState(source.kind));
  }

  /**
   * Returns the places that may be asked for a digest, in order: sources, the registry, resting sources. Returns undefined
   * if no source covers the upstream. With `isTold`, observers get the sources that are skipped or moved.
   */
  of(upstream: Upstream, digest: Digest, isTold = true): Place[] | undefined {
    if (upstream.repository === undefined) return undefined;
    const covering = [...this.#states].flatMap(([source, state]) => {
      const located = source.locate(upstream);
      if (located === undefined) return [];
      const isResting = state.rests(located.repository);
      return [{ source, state, gateway: source.gateway, upstream: located, isResting }];
    });
    if (covering.length === 0) return undefined;
    const tell = isTold ? this.#options.observe : NOT_TOLD;
    const trusted = covering.filter(({ source, state, isResting }) => {
      const isDistrusted = state.isDistrusted(digest);
      if (isDistrusted) tell({ source, reason: 'distrusted', digest, error: undefined });
      else if (isResting) tell({ source, reason: 'resting', digest, error: undefined });
      return !isDistrusted;
    });
    const mayFallBack = covering.every(({ source }) => source.fallback);
    return [
      ...trusted.filter(({ isResting }) => !isResting),
      ...(mayFallBack ? [this.#registry(upstream)] : []),
      ...trusted.filter(({ isResting }) => isResting),
    ];
  }

  /** Returns whether another place could deliver a slow body faster. */
  isBetterElsewhere({ source: slow }: Place, upstream: Upstream, digest: Digest, rate: number): boolean {
    if (slow === undefined) return false;
    const others = (this.of(upstream, digest, false) ?? []).filter(({ source }) => source !== slow);
    return others.some(({ source, state, gateway, upstream: located, isResting }) => {
      if (isResting || state.rests() || (state.rate !== undefined && state.rate <= rate)) return false;
      return source !== undefined || gateway.knownRefusal(located, 'blob', digest) === undefined;
    });
  }

  /** Records that a place has not answered, or that its body broke off. */
  failed(place: Place, wanted: Wanted, error: unknown): void {
    const { source, state, upstream } = place;
    const { digest } = wanted;
    if (error instanceof PackageUnknownError) {
      state.recover();
      if (source !== undefined) this.#options.observe({ source, reason: 'absent', digest, error });
    } else if (isWrong(error)) {
      if (source !== undefined) this.distrust(source, wanted, error);
    } else if (error instanceof UpstreamDeniedError && upstream.repository !== undefined) {
      state.deny(upstream.repository);
      if (source !== undefined) this.#options.observe({ source, reason: 'failed', digest, error });
    } else this.#rest(place, error instanceof TooSlowError ? 'slow' : 'failed', digest, error);
  }

  /** Records that a place which was asked later has answered first. */
  late(place: Place, digest: Digest): void {
    this.#rest(place, 'late', digest, undefined);
  }

  /** Records that the source sent wrong bytes for this digest. */
  distrust(source: Source, { digest, repair }: Wanted, error: unknown): void {
    this.#states.get(source)?.distrust(digest);
    source.onDistrusted?.(digest, repair);
    this.#options.observe({ source, reason: 'distrusted', digest, error });
  }

  trust(kind: SourceKind, digest: Digest): void {
    for (const [source, state] of this.#states) if (source.kind === kind) state.trust(digest);
  }

  status(upstream?: Upstream): SourceStatus[] {
    return [...this.#states]
      .filter(([source]) => upstream === undefined || source.locate(upstream) !== undefined)
      .map(([{ kind, name }, { resting, isFailing, distrusted }]) => ({
        kind,
        name,
        resting: resting && { until: new Date(Date.now() + resting.ms), reason: resting.reason },
        isFailing,
        distrusted,
      }));
  }

  #rest({ source, state }: Place, reason: 'late' | 'slow' | 'failed', digest: Digest, error: unknown): void {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    state.rest(cause instanceof Error ? `${reason}: ${cause.message}` : reason);
    if (source !== undefined) this.#options.observe({ source, reason, digest, error });
  }

  #registry(upstream: Upstream): Place {
    const { registry } = upstream;
    let state = this.#origins.get(registry);
    if (state === undefined) this.#origins.set(registry, (state = this.#newState()));
    return { source: undefined, state, gateway: this.#options.origin, upstream, isResting: false };
  }

  /**
   * A writable bucket reports the replacement of an object; an object of a read-only one stays wrong until an operator acts.
   */
  #newState(kind?: SourceKind): SourceState {
    const distrustMs = kind === 'bucket' ? Infinity : MIRROR_DISTRUST_MS;
    return new SourceState({ restMs: this.#options.limits.restMs, distrustMs, now: this.#options.now });
  }
}

/** Wrong content of one digest does not affect the others of a source. */
function isWrong(error: unknown): boolean {
  return (
    error instanceof DigestMismatchError || error instanceof InvalidContentError || error instanceof WrongSizeError
  );
}

/** Returns the error of the registry; without it, an error other than missing content, if there is one. */
export function shownError(failures: ReadonlyMap<Place, unknown>): unknown {
  const all = [...failures];
  const [, error] =
    all.find(([{ source }]) => source === undefined) ??
    all.findLast(([, each]) => !(each instanceof PackageUnknownError)) ??
    all.at(-1) ??
    [];
  const cause = new Error('each possible source has sent wrong bytes for this digest');
  return error ?? new UpstreamUnavailableError(undefined, { cause });
}
