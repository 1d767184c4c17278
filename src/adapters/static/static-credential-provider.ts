/** CredentialProvider over a list that is known from the start; of a registry that names files, they are read again. */
import type {
  ConfiguredRegistry,
  CredentialInspection,
  CredentialProvider,
  CredentialSource,
} from '../../domain/ports/credential-provider.ts';
import { describeUpstream, type Upstream } from '../../domain/upstream.ts';
import { RepositoryUnknownError } from '../../domain/errors.ts';
import { DEFAULT_REPOSITORY, type RepositoryName } from '../../domain/reference.ts';
import { type FollowedFiles, FollowedUpstream } from './followed-upstream.ts';

export interface NamedUpstream {
  readonly name: RepositoryName;
  /** Serves requests without a repository too. */
  readonly isDefault: boolean;
  readonly upstream: Upstream;
  /** Where parts of it are, when they are in files. */
  readonly files?: FollowedFiles;
}

export interface StaticProviderOptions {
  /** Hears of files that cannot be used; the registry stays what it was. */
  readonly onUnusable?: (name: RepositoryName, reason: string) => void;
  /** Milliseconds on a clock that never goes back; for tests. */
  readonly now?: () => number;
}

/** The resource that holds the list. */
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
