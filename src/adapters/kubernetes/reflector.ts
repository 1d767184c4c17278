/** Keeps a picture of one kind of object, whatever the API server does: lists, watches, comes back, in its own time. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiStatusError, type ObjectSource, type RawObject, type WatchEvent } from './object-source.ts';

export type ReflectorEvent =
  | { readonly kind: 'listed'; readonly objects: number }
  | { readonly kind: 'failed'; readonly during: 'list' | 'watch'; readonly error: unknown };

export interface ReflectorOptions {
  readonly source: ObjectSource;
  /** All objects there are, by their uid, after each list and each change. */
  readonly onChange: (objects: ReadonlyMap<string, RawObject>) => void;
  readonly onEvent: (event: ReflectorEvent) => void;
  /** For tests; those of production are the defaults below. */
  readonly pace?: Partial<Pace>;
}

export interface Pace {
  /** Between two lists, whatever happens. */
  readonly minListIntervalMs: number;
  /** A picture is drawn anew after this, in case a change was missed. */
  readonly relistIntervalMs: number;
  /** Pauses after failures double from the first to the second, with jitter. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
}

/** Two kinds are watched, so that the API server sees one list a second at most. */
const PACE: Pace = { minListIntervalMs: 2000, relistIntervalMs: 600_000, firstPauseMs: 500, longestPauseMs: 4000 };

/** A server that ends so many watches without a word may have forgotten where we were (it should say 410, some do not). */
const MAX_SILENT_WATCHES = 3;
/** A watch of this age has worked, whatever ended it. */
const HEALTHY_WATCH_MS = 5000;

export class Reflector {
  readonly #options: ReflectorOptions;
  readonly #pace: Pace;
  readonly #stopping = new AbortController();
  #objects = new Map<string, RawObject>();
  #failures = 0;
  #listedAt = -Infinity;
  #running: Promise<void> | undefined;

  constructor(options: ReflectorOptions) {
    this.#options = options;
    this.#pace = { ...PACE, ...options.pace };
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Nothing is told after this resolves. */
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

  /** Where a watch can go on; undefined when there is no list. */
  async #list(): Promise<string | undefined> {
    await this.#sleep(this.#listedAt + this.#pace.minListIntervalMs - performance.now());
    if (this.#stopped) return undefined;
    this.#listedAt = performance.now();
    try {
      const { items, resourceVersion } = await this.#options.source.list(this.#stopping.signal);
      this.#failures = 0;
      this.#replace(items);
      return resourceVersion;
    } catch (error) {
      // The kind is not there yet, as during bootstrap: that is an answer, and it means none.
      if (error instanceof ApiStatusError && error.status === 404) this.#replace([]);
      else this.#fail('list', error);
      await this.#pause();
      return undefined;
    }
  }

  /** Follows the changes until the picture must be drawn anew. */
  async #watch(resourceVersion: string): Promise<void> {
    const outdated = AbortSignal.timeout(this.#pace.relistIntervalMs);
    const signal = AbortSignal.any([this.#stopping.signal, outdated]);
    let position: string | undefined = resourceVersion;
    for (let silent = 0; position !== undefined && silent < MAX_SILENT_WATCHES && !signal.aborted;) {
      const opened = performance.now();
      const reached: string | undefined = await this.#follow(position, signal);
      const healthy = performance.now() - opened >= HEALTHY_WATCH_MS;
      silent = healthy || reached !== position ? 0 : silent + 1;
      position = reached;
      if (healthy) this.#failures = 0;
      else if (position !== undefined) await this.#pause();
    }
  }

  /** One watch: resolves with the version up to which changes were seen, undefined when a list is needed to go on. */
  async #follow(from: string, signal: AbortSignal): Promise<string | undefined> {
    let position: string | undefined = from;
    const onEvent = ({ type, object }: WatchEvent): void => {
      // An ERROR's object is a Status; 410 is the usual one, and after any other a list is as good an answer.
      position = type === 'ERROR' || position === undefined ? undefined : this.#apply(type, object, position);
    };
    try {
      await this.#options.source.watch(from, onEvent, signal);
    } catch (error) {
      if (error instanceof ApiStatusError && error.status === 410) return undefined;
      if (!signal.aborted) this.#fail('watch', error);
    }
    return position;
  }

  #apply(type: string, object: RawObject, before: string): string {
    const { uid, resourceVersion } = metadataOf(object);
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

  /** A listener that throws is a bug, but not one that may end the watch. */
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

/** Strings, empty where there are none. */
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
