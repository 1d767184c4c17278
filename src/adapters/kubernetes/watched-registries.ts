/** The registries of one watched kind of object, and the age of this information. */
import type { ConfiguredRegistry, CredentialSource } from '../../domain/ports/credential-provider.ts';
import { describeUpstream, type Upstream } from '../../domain/upstream.ts';
import type { RepositoryName } from '../../domain/reference.ts';
import type { ObjectSource } from './object-source.ts';
import { type Pace, Reflector, type ReflectorEvent } from './reflector.ts';
import { type IndexEvent, RegistryIndex, type ReservedNames } from './registry-index.ts';
import type { FieldReader, RegistryParser } from './registry-objects.ts';

/** The numbers of known objects and of those that cannot be used. */
export interface KnownObjectsEvent {
  readonly kind: 'changed';
  readonly objects: number;
  readonly rejected: number;
}

export interface WatchedRegistriesOptions {
  readonly resource: string;
  readonly source: ObjectSource;
  readonly read: FieldReader;
  readonly parse: RegistryParser;
  readonly onEvent: (event: ReflectorEvent | IndexEvent | KnownObjectsEvent) => void;
  readonly pace: Partial<Pace>;
  /** The names that belong to objects of another resource. */
  readonly reserved?: ReservedNames;
  /** Whether the objects, or the permission to list them, may be missing. */
  readonly isOptional?: boolean;
}

export class WatchedRegistries {
  readonly resource: string;
  readonly #index: RegistryIndex;
  readonly #onEvent: WatchedRegistriesOptions['onEvent'];
  readonly #reflector: Reflector;
  #isPending = true;
  #listedAt: Date | undefined;
  #objects = 0;
  #failure: CredentialSource['failure'];

  constructor({ resource, source, read, parse, onEvent, pace, reserved, isOptional }: WatchedRegistriesOptions) {
    this.resource = resource;
    this.#index = new RegistryIndex(read, parse, onEvent, reserved);
    this.#onEvent = onEvent;
    this.#reflector = new Reflector({
      source,
      onEvent: (event) => {
        this.#note(event);
        onEvent(event);
      },
      onItem: (object) => {
        this.#index.prepare(object);
      },
      onChange: (objects) => {
        this.#index.update(objects);
        this.#objects = objects.size;
        this.#isPending = false;
        this.#tellChange();
      },
      pace,
      ...(isOptional === true && { isOptional }),
    });
  }

  /** Whether the first list has not arrived. */
  get isPending(): boolean {
    return this.#isPending;
  }

  /** Whether an object has a registry, even an unusable one. */
  get hasRegistry(): boolean {
    return this.#index.hasRegistry;
  }

  start(): void {
    this.#reflector.start();
  }

  stop(): Promise<void> {
    return this.#reflector.stop();
  }

  find(name: RepositoryName): Upstream | undefined {
    return this.#index.find(name);
  }

  ownerOf(name: RepositoryName): string | undefined {
    return this.#index.ownerOf(name);
  }

  /** The object that names a repository and has never been usable, in words for an operator; without a name, any such object. */
  unusable(name?: RepositoryName): string | undefined {
    const found = this.#index.unusable().find(({ repo }) => name === undefined || repo?.replace(/\/$/, '') === name);
    return found && `${this.resource} ${found.object}: ${found.reason}`;
  }

  /** Assigns the names again after a change of the reserved names. */
  reassignNames(): void {
    this.#index.assignNames();
    if (!this.#isPending) this.#tellChange();
  }

  describe(): CredentialSource {
    return {
      resource: this.resource,
      listedAt: this.#isPending ? undefined : this.#listedAt,
      objects: this.#objects,
      rejected: this.#index.rejected(),
      failure: this.#failure,
    };
  }

  list(): ConfiguredRegistry[] {
    const describe = ({ upstream, ...rest }: ReturnType<RegistryIndex['list']>[number]): ConfiguredRegistry => ({
      resource: this.resource,
      ...rest,
      upstream: describeUpstream(upstream),
    });
    return this.#index.list().map(describe);
  }

  #tellChange(): void {
    this.#onEvent({ kind: 'changed', objects: this.#objects, rejected: this.#index.rejected().length });
  }

  #note(event: ReflectorEvent): void {
    if (event.kind === 'listed') {
      this.#listedAt = new Date();
      this.#failure = undefined;
    } else if (event.kind === 'failed') {
      const reason = event.error instanceof Error ? event.error.message : 'unknown error';
      this.#failure = { at: new Date(), reason: `${event.during}: ${reason}` };
    }
  }
}
