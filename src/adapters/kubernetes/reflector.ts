/** Keeps a copy of all objects of one kind: lists, watches, and retries after failures of the API server at a limited rate. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ApiStatusError,
  KindAbsentError,
  type ObjectSource,
  type RawObject,
  type WatchEvent,
} from './object-source.ts';

export type ReflectorEvent =
  | { readonly kind: 'listed'; readonly objects: number }
  /** The service may not list optional objects, which count as absent; said once for as long as it lasts. */
  | { readonly kind: 'forbidden' }
  | { readonly kind: 'failed'; readonly during: 'list' | 'watch'; readonly error: unknown };

interface ReflectorOptions {
  readonly source: ObjectSource;
  /** Called for each object of a list as it arrives, before `onChange` gets all objects; for work on single objects. */
  readonly onItem?: (object: RawObject) => void;
  /** Called with all objects by their uid, after each list and each change. */
  readonly onChange: (objects: ReadonlyMap<string, RawObject>) => void;
  readonly onEvent: (event: ReflectorEvent) => void;
  /** Only for tests; production uses the defaults below. */
  readonly pace?: Partial<Pace>;
  /** Whether 403 counts as an empty list: a cluster without these objects need not grant the permission. */
  readonly isOptional?: boolean;
}

export interface Pace {
  /** The shortest time between two lists. */
  readonly minListIntervalMs: number;
  /** All objects are listed again after this time, in case a change was missed. */
  readonly relistIntervalMs: number;
  /** Pauses after failures double from `firstPauseMs` to `longestPauseMs`, with jitter. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** Known objects stay known for this long if their kind is missing, because its definition may be replaced at this time. */
  readonly absenceMs: number;
  /** A missing permission counts only after this time, because a new role takes effect a moment later. */
  readonly forbiddenMs: number;
  /** Optional objects are listed again after this time, because their permission or their kind may be added later. */
  readonly optionalPauseMs: number;
}

/** Five kinds are watched, so the API server gets at most five lists in two seconds. */
const PACE: Pace = {
  minListIntervalMs: 2000,
  relistIntervalMs: 600_000,
  firstPauseMs: 500,
  longestPauseMs: 4000,
  absenceMs: 300_000,
  forbiddenMs: 5000,
  optionalPauseMs: 60_000,
};

/** A watch that lasts this long counts as healthy. After a shorter one the objects are listed again, with pauses. */
const HEALTHY_WATCH_MS = 5000;

export class Reflector {
  readonly #options: ReflectorOptions;
  readonly #pace: Pace;
  readonly #stopping = new AbortController();
  #objects = new Map<string, RawObject>();
  #failures = 0;
  #listedAt = -Infinity;
  /** The time on the monotonic clock since which the kind has been missing. */
  #absentSince: number | undefined;
  /** The time on the monotonic clock since which listing has been forbidden. */
  #forbiddenSince: number | undefined;
  #hasToldForbidden = false;
  #running: Promise<void> | undefined;

  constructor(options: ReflectorOptions) {
    this.#options = options;
    this.#pace = { ...PACE, ...options.pace };
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** After this resolves, no callback is called. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const resourceVersion = await this.#list();
      if (resourceVersion !== undefined) await this.#watch(resourceVersion);
    }
  }

  /** Resolves with the resource version from which a watch can continue; undefined if there is no list. */
  async #list(): Promise<string | undefined> {
    await this.#sleep(this.#listedAt + this.#pace.minListIntervalMs - performance.now());
    if (this.#stopped) return undefined;
    this.#listedAt = performance.now();
    try {
      const { items, resourceVersion } = await this.#options.source.list(this.#stopping.signal, this.#options.onItem);
      this.#absentSince = undefined;
      this.#forbiddenSince = undefined;
      this.#hasToldForbidden = false;
      this.#replace(items);
      return resourceVersion;
    } catch (error) {
      if (this.#isForbidden(error)) {
        await this.#endureForbidden();
        return undefined;
      }
      if (this.#isCredible(error)) {
        this.#replace([]);
        if (this.#options.isOptional === true) await this.#sleep(this.#pace.optionalPauseMs);
      } else this.#fail('list', error);
      await this.#pause();
      return undefined;
    }
  }

  /** If a permission is removed while objects are known, this is a failure, and the objects stay known. */
  #isForbidden(error: unknown): boolean {
    const isForbidden = error instanceof ApiStatusError && error.status === 403;
    return this.#options.isOptional === true && isForbidden && this.#objects.size === 0;
  }

  async #endureForbidden(): Promise<void> {
    this.#forbiddenSince ??= performance.now();
    if (performance.now() - this.#forbiddenSince < this.#pace.forbiddenMs) {
      await this.#pause();
      return;
    }
    if (!this.#hasToldForbidden && !this.#stopped) this.#options.onEvent({ kind: 'forbidden' });
    this.#hasToldForbidden = true;
    this.#replace([]);
    await this.#sleep(this.#pace.optionalPauseMs);
  }

  /** Whether the error means an empty list: at once while no object is known (as during bootstrap), otherwise after minutes. */
  #isCredible(error: unknown): boolean {
    if (!(error instanceof KindAbsentError)) {
      this.#absentSince = undefined;
      return false;
    }
    this.#absentSince ??= performance.now();
    return this.#objects.size === 0 || performance.now() - this.#absentSince >= this.#pace.absenceMs;
  }

  /**
   * Watches again while each watch ends at its regular time. After any other end a new list is needed, because the server may
   * have been restored from a backup, which a new connection does not show.
   */
  async #watch(resourceVersion: string): Promise<void> {
    const outdated = AbortSignal.timeout(this.#pace.relistIntervalMs);
    const signal = AbortSignal.any([this.#stopping.signal, outdated]);
    for (let position: string | undefined = resourceVersion; position !== undefined && !signal.aborted;) {
      const opened = performance.now();
      const reached: string | undefined = await this.#follow(position, signal);
      const isHealthy = performance.now() - opened >= HEALTHY_WATCH_MS;
      if (isHealthy) this.#failures = 0;
      else await this.#pause();
      position = isHealthy ? reached : undefined;
    }
  }

  /** Runs one watch; resolves with the last version, or undefined if a new list is needed. */
  async #follow(from: string, signal: AbortSignal): Promise<string | undefined> {
    const lost = new AbortController();
    let position: string | undefined = from;
    const onEvent = ({ type, object }: WatchEvent): void => {
      // The object of an ERROR is a Status, usually 410. A new list is the right reaction to each.
      position = type === 'ERROR' || position === undefined ? undefined : this.#apply(type, object, position);
      if (position === undefined) lost.abort();
    };
    try {
      await this.#options.source.watch(from, onEvent, AbortSignal.any([signal, lost.signal]));
      return position;
    } catch (error) {
      const isExpected =
        signal.aborted || lost.signal.aborted || (error instanceof ApiStatusError && error.status === 410);
      if (!isExpected) this.#fail('watch', error);
      return undefined;
    }
  }

  /** Undefined if the object is older than the last version: the server was restored from a backup. */
  #apply(type: string, object: RawObject, before: string): string | undefined {
    const { uid, resourceVersion } = metadataOf(object);
    if (isOlder(resourceVersion, before)) return undefined;
    if (type === 'DELETED') this.#objects.delete(uid);
    else if (type === 'ADDED' || type === 'MODIFIED') this.#objects.set(uid, object);
    if (type !== 'BOOKMARK') this.#tell();
    return resourceVersion === '' ? before : resourceVersion;
  }

  #replace(items: readonly RawObject[]): void {
    this.#objects = new Map(items.map((item) => [metadataOf(item).uid, item]));
    this.#options.onEvent({ kind: 'listed', objects: items.length });
    this.#tell();
  }

  /** Calls the listener. If it throws, this is a bug, but the watch must continue. */
  #tell(): void {
    if (this.#stopped) return;
    try {
      this.#options.onChange(this.#objects);
    } catch (error) {
      this.#fail('watch', error);
    }
  }

  #fail(during: 'list' | 'watch', error: unknown): void {
    if (!this.#stopped) this.#options.onEvent({ kind: 'failed', during, error });
  }

  async #pause(): Promise<void> {
    const { firstPauseMs, longestPauseMs } = this.#pace;
    const longest = Math.min(firstPauseMs * 2 ** this.#failures++, longestPauseMs);
    await this.#sleep(longest * (0.5 + Math.random() / 2));
  }

  async #sleep(ms: number): Promise<void> {
    if (ms > 0) await sleep(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }

  get #stopped(): boolean {
    return this.#stopping.signal.aborted;
  }
}

/** Resource versions are decimal numbers that can be compared (KEP-5504). Other texts are not compared. */
function isOlder(version: string, than: string): boolean {
  const isNumber = /^\d{1,40}$/;
  return isNumber.test(version) && isNumber.test(than) && BigInt(version) < BigInt(than);
}

/** The metadata as strings; a missing value is an empty string. */
export function metadataOf(object: RawObject): { uid: string; name: string; created: string; resourceVersion: string } {
  const metadata = (object['metadata'] ?? {}) as Record<string, unknown>;
  const text = (name: string): string => (typeof metadata[name] === 'string' ? metadata[name] : '');
  return {
    uid: text('uid'),
    name: text('name'),
    created: text('creationTimestamp'),
    resourceVersion: text('resourceVersion'),
  };
}
