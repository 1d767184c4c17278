/** Maps objects to registries. A broken object keeps its previous state; of two objects with one name, the older one has it. */
import type { RepositoryName } from '../../domain/reference.ts';
import { InvalidUpstreamError, type Upstream, type UpstreamFields } from '../../domain/upstream.ts';
import type { RawObject } from './object-source.ts';
import type { FieldReader, ParsedRegistry, RegistryParser } from './registry-objects.ts';
import { metadataOf } from './reflector.ts';

export type IndexEvent =
  /** The current state of the object cannot be used. `error` names the field without its value. */
  | { readonly kind: 'invalid'; readonly object: string; readonly uid: string; readonly error: InvalidUpstreamError }
  /** A name of the object's registry is that of another object already. */
  | {
      readonly kind: 'conflict';
      readonly object: string;
      readonly uid: string;
      readonly winner: string;
      readonly repository: string;
    };

interface Entry {
  readonly object: string;
  readonly created: string;
  /** The object as received; the reflector keeps the same object until it changes. */
  readonly source: RawObject;
  /** The fields, or the reason why they cannot be read. While they are equal, the registry and its connections are kept. */
  readonly read: UpstreamFields | string;
  /** Undefined if the object has never been usable. */
  readonly registry: ParsedRegistry | undefined;
  /** The reason why the current state cannot be used. */
  readonly fault?: string;
}

interface Entered {
  readonly entry: Entry;
  /** Set if the reason is new. */
  readonly error?: InvalidUpstreamError;
}

/** An object that is not used, or not under all of its names. */
interface RejectedObject {
  readonly object: string;
  readonly reason: string;
}

/** Returns the object of another index that has this name, which no object of this index may use. */
export type ReservedNames = (name: RepositoryName) => string | undefined;

const NOTHING_RESERVED: ReservedNames = () => undefined;

export class RegistryIndex {
  readonly #read: FieldReader;
  readonly #parse: RegistryParser;
  readonly #onEvent: (event: IndexEvent) => void;
  readonly #ownerOf: ReservedNames;
  /** Keyed by uid. */
  #entries = new Map<string, Entry>();
  readonly #prepared = new WeakMap<RawObject, Entered>();
  #byName = new Map<RepositoryName, { object: string; upstream: Upstream }>();
  #conflicts = new Map<string, RejectedObject>();

  constructor(
    read: FieldReader,
    parse: RegistryParser,
    onEvent: (event: IndexEvent) => void,
    reserved = NOTHING_RESERVED,
  ) {
    this.#read = read;
    this.#parse = parse;
    this.#onEvent = onEvent;
    this.#ownerOf = reserved;
  }

  find(name: RepositoryName): Upstream | undefined {
    return this.#byName.get(name)?.upstream;
  }

  /** The object that has a name. */
  ownerOf(name: RepositoryName): string | undefined {
    return this.#byName.get(name)?.object;
  }

  /** Whether an object has a registry, even an unusable one. */
  get hasRegistry(): boolean {
    return this.#entries.values().some(({ read }) => typeof read === 'string' || read.repo !== '');
  }

  /** Objects that have never been usable, with the repositories that they name; undefined where that cannot be read. */
  unusable(): (RejectedObject & { readonly repo: string | undefined })[] {
    return [...this.#entries.values()].flatMap(({ object, read, registry, fault }) => {
      if (registry !== undefined || fault === undefined) return [];
      return [{ object, reason: fault, repo: typeof read === 'string' ? undefined : read.repo }];
    });
  }

  /** All registries with their object and the names that belong to it. */
  list(): { readonly object: string; readonly names: readonly RepositoryName[]; readonly upstream: Upstream }[] {
    const owners = Map.groupBy(this.#byName, ([, { upstream }]) => upstream);
    return [...owners].map(([upstream, owned]) => ({
      object: owned[0]?.[1].object ?? '',
      names: owned.map(([name]) => name),
      upstream,
    }));
  }

  rejected(): RejectedObject[] {
    const faulty = this.#entries
      .values()
      .flatMap(({ object, fault }) => (fault === undefined ? [] : [{ object, reason: fault }]));
    return [...faulty, ...this.#conflicts.values()];
  }

  /** Parses one object in advance. The certificates of a thousand objects would take `update` a second. */
  prepare(object: RawObject): void {
    this.#prepared.set(object, this.#enter(metadataOf(object).uid, object));
  }

  /** Replaces all objects. */
  update(objects: ReadonlyMap<string, RawObject>): void {
    this.#entries = new Map(objects.entries().map(([uid, object]) => [uid, this.#take(uid, object)]));
    this.assignNames();
  }

  /** Assigns each name to one object. Also called when the reserved names have changed. */
  assignNames(): void {
    const oldestFirst = [...this.#entries].sort(
      ([a, one], [b, other]) => compare(one.created, other.created) || compare(a, b),
    );
    this.#byName = new Map();
    const conflicts = new Map<string, RejectedObject>();
    for (const [uid, { object, registry }] of oldestFirst) {
      for (const name of registry?.names ?? []) {
        const winner = this.#ownerOf(name) ?? this.ownerOf(name);
        if (winner !== undefined) {
          const reason = `${name === '' ? 'the default registry' : name} is that of ${winner} already`;
          conflicts.set(this.#tellConflict({ object, uid, winner, repository: name }), { object, reason });
        } else if (registry !== undefined) this.#byName.set(name, { object, upstream: registry.upstream });
      }
    }
    this.#conflicts = conflicts;
  }

  #take(uid: string, object: RawObject): Entry {
    const before = this.#entries.get(uid);
    // An event concerns one object. The others are not parsed again, because a CA bundle can have 100 KiB.
    if (before?.source === object) return before;
    const { entry, error } = this.#prepared.get(object) ?? this.#enter(uid, object);
    if (error !== undefined) this.#onEvent({ kind: 'invalid', object: entry.object, uid, error });
    return entry;
  }

  #enter(uid: string, object: RawObject): Entered {
    const before = this.#entries.get(uid);
    const { name, created } = metadataOf(object);
    let read: UpstreamFields | string | undefined;
    try {
      read = this.#read(object);
      if (before !== undefined && isSame(before.read, read)) return { entry: { ...before, source: object } };
      return { entry: { object: name, created, source: object, read, registry: this.#parse(read, name) } };
    } catch (error) {
      if (!(error instanceof InvalidUpstreamError)) throw error;
      read ??= error.message;
      if (before !== undefined && isSame(before.read, read)) return { entry: { ...before, source: object } };
      const { message: fault } = error;
      return { entry: { object: name, created, source: object, read, registry: before?.registry, fault }, error };
    }
  }

  /** Reports a conflict once while it lasts. */
  #tellConflict(conflict: Readonly<Record<'object' | 'uid' | 'winner' | 'repository', string>>): string {
    const key = `${conflict.object} ${conflict.winner} ${conflict.repository}`;
    if (!this.#conflicts.has(key)) this.#onEvent({ kind: 'conflict', ...conflict });
    return key;
  }
}

const FIELDS = ['repo', 'scheme', 'dockerCfg', 'ca'] as const satisfies (keyof UpstreamFields)[];

function isSame(a: UpstreamFields | string, b: UpstreamFields | string): boolean {
  if (typeof a === 'string' || typeof b === 'string') return a === b;
  return FIELDS.every((field) => a[field] === b[field]);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
