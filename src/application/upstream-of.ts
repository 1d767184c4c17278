/** Where a package is looked for, as the configuration says at this moment. */
import { RepositoryUnknownError } from '../domain/errors.ts';
import type { PackageRequest } from '../domain/reference.ts';
import type { CredentialProvider } from '../domain/ports/credential-provider.ts';
import { below, parentOf, type Upstream } from '../domain/upstream.ts';

/** Rejects as `CredentialProvider.resolve` does. */
export async function upstreamOf(
  { repository, path, isBeside = false }: Pick<PackageRequest, 'repository' | 'path' | 'isBeside'>,
  credentials: CredentialProvider,
): Promise<Upstream> {
  const configured = await credentials.resolve(repository);
  const root = isBeside ? parentOf(configured) : configured;
  if (root === undefined) throw new RepositoryUnknownError();
  return below(root, path);
}
