/** CredentialProvider of a list that is known from the start; the files of a registry are read again. */
import { stat } from 'node:fs/promises';
import type {
  ConfiguredRegistry,
  CredentialInspection,
  CredentialProvider,
  CredentialSource,
} from '../../domain/ports/credential-provider.ts';
import { describeUpstream, type Upstream } from '../../domain/upstream.ts';
import { RepositoryUnknownError } from '../../domain/errors.ts';
import { DEFAULT_REPOSITORY, type RepositoryName } from '../../domain/reference.ts';

export interface NamedUpstream {
  readonly name: RepositoryName;
  /** Whether requests without a repository use this registry. */
  readonly isDefault: boolean;
  readonly upstream: Upstream;
  /** The files with parts of the upstream, if there are any. */
  readonly files?: FollowedFiles;
}

interface StaticProviderOptions {
  /** Called for files that cannot be used; the registry stays unchanged. */
  readonly onUnusable?: (name: RepositoryName, reason: string) => void;
  /** The milliseconds of a monotonic clock; for tests. */
  readonly now?: () => number;
}

/** The resource of the list. */
const RESOURCE = 'settings';

export class StaticCredentialProvider implements CredentialProvider, CredentialInspection {
  readonly #registries: readonly (NamedUpstream & { readonly followed: FollowedUpstream })[];
  readonly #readAt = new Date();
  readonly #upstreams = new Map<RepositoryName, FollowedUpstream>();

  constructor(registries: readonly NamedUpstream[], { onUnusable, now }: StaticProviderOptions = {}) {
    this.#registries = registries.map((registry) => {
      const { name, upstream, files } = registry;
      const hears = (reason: string): void => onUnusable?.(name, reason);
      return {
        ...registry,
        followed: new FollowedUpstream(upstream, { files, onUnusable: hears, ...(now && { now }) }),
      };
    });
    for (const { name, isDefault, followed } of this.#registries) {
      this.#upstreams.set(name, followed);
      if (isDefault) this.#upstreams.set(DEFAULT_REPOSITORY, followed);
    }
  }

  resolve(name: RepositoryName): Promise<Upstream> {
    const followed = this.#upstreams.get(name);
    if (followed !== undefined) return followed.current();
    const message = name === DEFAULT_REPOSITORY ? 'no default registry is configured' : undefined;
    return Promise.reject(new RepositoryUnknownError(message));
  }

  sources(): CredentialSource[] {
    const objects = this.#registries.length;
    const rejected = this.#registries.flatMap(({ name, followed: { failure } }) =>
      failure === undefined ? [] : [{ object: name, reason: failure }],
    );
    return [{ resource: RESOURCE, listedAt: this.#readAt, objects, rejected, failure: undefined }];
  }

  registries(): ConfiguredRegistry[] {
    return this.#registries.map(({ name, isDefault, followed }) => ({
      resource: RESOURCE,
      object: undefined,
      names: isDefault ? [name, DEFAULT_REPOSITORY] : [name],
      upstream: describeUpstream(followed.last),
    }));
  }
}

/** The interval of the reads, because each use would cost an access to the disk. */
const INTERVAL_MS = 1000;

export interface FollowedFiles {
  readonly paths: readonly string[];
  /** The paths of the files with secrets. */
  readonly secrets: readonly string[];
  /** The hash of their content when the settings were read. */
  readonly content: string;
  /** `content` stays the same as long as the files do. @throws Error that names the field */
  readonly read: () => { readonly upstream: Upstream; readonly content: string };
}

interface FollowedOptions {
  readonly files: FollowedFiles | undefined;
  readonly onUnusable: (reason: string) => void;
  readonly now?: () => number;
}

/** An upstream with parts in files: changed files make another object, because connections are keyed by it. */
class FollowedUpstream {
  readonly #options: FollowedOptions;
  readonly #now: () => number;
  #upstream: Upstream;
  #content: string | undefined;
  /** Sizes, modification times and inodes at the last read; undefined before the first. */
  #state: string | undefined;
  #lookedAt: number;
  #looking: Promise<void> | undefined;
  #failure: string | undefined;

  constructor(upstream: Upstream, options: FollowedOptions) {
    this.#upstream = upstream;
    this.#content = options.files?.content;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#lookedAt = this.#now();
  }

  /** The upstream of the last call of `current`. */
  get last(): Upstream {
    return this.#upstream;
  }

  /** Why the files cannot be used. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** A change of the last second may be missing. Files that cannot be used change nothing. */
  async current(): Promise<Upstream> {
    const { files } = this.#options;
    if (files !== undefined && this.#now() - this.#lookedAt >= INTERVAL_MS) {
      this.#looking ??= this.#look(files).finally(() => {
        this.#lookedAt = this.#now();
        this.#looking = undefined;
      });
    }
    await this.#looking;
    return this.#upstream;
  }

  async #look(files: FollowedFiles): Promise<void> {
    const state = (await Promise.all(files.paths.map(stateOf))).join();
    if (state === this.#state) return;
    this.#state = state;
    try {
      const { upstream, content } = files.read();
      if (content !== this.#content) this.#upstream = upstream;
      this.#content = content;
      this.#failure = undefined;
    } catch (error) {
      this.#failure = error instanceof Error ? error.message : 'unknown error';
      this.#options.onUnusable(this.#failure);
    }
  }
}

async function stateOf(path: string): Promise<string> {
  try {
    const { size, mtimeNs, ino } = await stat(path, { bigint: true });
    return [size, mtimeNs, ino].join(' ');
  } catch (error) {
    return String(error);
  }
}
