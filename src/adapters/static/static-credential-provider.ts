/** CredentialProvider over a list that is known from the start and does not change. */
import { RepositoryUnknownError } from '../../domain/errors.ts';
import type { CredentialProvider } from '../../domain/ports/credential-provider.ts';
import { DEFAULT_REPOSITORY, type RepositoryName } from '../../domain/reference.ts';
import type { Upstream } from '../../domain/upstream.ts';

export interface NamedUpstream {
  readonly name: RepositoryName;
  /** Serves requests without a repository too. */
  readonly isDefault: boolean;
  readonly upstream: Upstream;
}

export class StaticCredentialProvider implements CredentialProvider {
  readonly #upstreams = new Map<RepositoryName, Upstream>();

  constructor(registries: readonly NamedUpstream[]) {
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
}
