/** CredentialProvider over a list that is known from the start and does not change. */
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
  /** Serves requests without a repository too. */
  readonly isDefault: boolean;
  readonly upstream: Upstream;
}

/** The resource that holds the list. */
const RESOURCE = 'settings';

export class StaticCredentialProvider implements CredentialProvider, CredentialInspection {
  readonly #registries: readonly NamedUpstream[];
  readonly #readAt = new Date();
  readonly #upstreams = new Map<RepositoryName, Upstream>();

  constructor(registries: readonly NamedUpstream[]) {
    this.#registries = registries;
    for (const { name, isDefault, upstream } of registries) {
      this.#upstreams.set(name, upstream);
      if (isDefault) this.#upstreams.set(DEFAULT_REPOSITORY, upstream);
    }
  }

  resolve(name: RepositoryName): Promise<Upstream> {
    const upstream = this.#upstreams.get(name);
    if (upstream !== undefined) return Promise.resolve(upstream);
    const message = name === DEFAULT_REPOSITORY ? 'no default registry is configured' : undefined;
    return Promise.reject(new RepositoryUnknownError(message));
  }

  sources(): CredentialSource[] {
    const objects = this.#registries.length;
    return [{ resource: RESOURCE, listedAt: this.#readAt, objects, rejected: [], failure: undefined }];
  }

  registries(): ConfiguredRegistry[] {
    return this.#registries.map(({ name, isDefault, upstream }) => ({
      resource: RESOURCE,
      object: undefined,
      names: isDefault ? [name, DEFAULT_REPOSITORY] : [name],
      upstream: describeUpstream(upstream),
    }));
  }
}
