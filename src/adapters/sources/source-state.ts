/** The state of one source, or of the registry behind all sources: whether it rests, its rate, and its wrong digests. */
import { BoundedMap } from '../../domain/bounded-map.ts';
import type { Digest } from '../../domain/descriptor.ts';
import type { RepositoryPath } from '../../domain/reference.ts';

/** About 2 MB. The limit is needed because digests come from requests. */
const MAX_DISTRUSTED = 10_000;
const MAX_DENIED = 1000;

interface StateOptions {
  /** The time for which the source is asked last. */
  readonly restMs: number;
  /** The time for which it is not asked for a digest after wrong bytes. */
  readonly distrustMs: number;
  /** The milliseconds of a monotonic clock. */
  readonly now: () => number;
}

export class SourceState {
  readonly #restMs: number;
  readonly #distrustMs: number;
  readonly #now: () => number;
  #restsUntil = -Infinity;
  #reason: string | undefined;
  #isFailing = false;
  readonly #distrusted = new BoundedMap<Digest, number>(MAX_DISTRUSTED);
  /** A source may refuse one repository and serve all others. */
  readonly #denied = new BoundedMap<RepositoryPath, number>(MAX_DENIED);
  /** The bytes per second of the last measurement; undefined before the first. */
  rate: number | undefined;

  constructor({ restMs, distrustMs, now }: StateOptions) {
    this.#restMs = restMs;
    this.#distrustMs = distrustMs;
    this.#now = now;
  }

  /** Returns whether the source, or this repository of it, is asked last. */
  rests(repository?: RepositoryPath): boolean {
    const denied = repository === undefined ? undefined : this.#denied.get(repository);
    return this.#now() < Math.max(this.#restsUntil, denied ?? -Infinity);
  }

  /** `reason` is shown to operators. */
  rest(reason: string): void {
    if (!this.rests()) this.#reason = reason;
    this.#restsUntil = this.#now() + this.#restMs;
    this.#isFailing = true;
  }

  /** Records a good answer. */
  recover(): void {
    this.#isFailing = false;
  }

  /** Whether it has rested, and has not recovered since. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  deny(repository: RepositoryPath): void {
    this.#isFailing = true;
    this.#denied.set(repository, this.#now() + this.#restMs);
  }

  /** Undefined if it does not rest. */
  get resting(): { readonly ms: number; readonly reason: string } | undefined {
    const ms = this.#restsUntil - this.#now();
    return ms > 0 && this.#reason !== undefined ? { ms, reason: this.#reason } : undefined;
  }

  distrust(digest: Digest): void {
    this.#distrusted.set(digest, this.#now() + this.#distrustMs);
  }

  trust(digest: Digest): void {
    this.#distrusted.delete(digest);
  }

  isDistrusted(digest: Digest): boolean {
    return this.#now() < (this.#distrusted.get(digest) ?? -Infinity);
  }

  get distrusted(): number {
    return this.#distrusted.size;
  }
}
