/** Parses the path of a request under /v1/packages/: the package of the icon, and its version. */
import type { IconRequest } from '../../../application/get-icon.ts';
import { InvalidArgumentError } from '../../../domain/errors.ts';
import { parseRepositoryName, parseRepositoryPath } from '../../../domain/reference.ts';
import { isVersionTag } from '../../../domain/semantic-version.ts';
import { pathSegments } from '../server/strict-requests.ts';
import { RefusedError } from '../server/problem.ts';

export const PREFIX = '/v1/packages/';

export function isIconTarget(target: string): boolean {
  return target.startsWith(PREFIX);
}

/** The name of an object of the cluster (RFC 1123, subdomain). */
const OBJECT = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;
const MAX_OBJECT_LENGTH = 253;

/** Parses the raw path without its query. @throws RefusedError if it is not the path of an icon. */
export function parseIconPath(path: string): IconRequest {
  const [repository = '', name = '', metadata, icon, version, ...rest] = pathSegments(path.slice(PREFIX.length)) ?? [];
  const isIcon = metadata === 'metadata' && icon === 'icon' && rest.length === 0;
  const isObject = repository.length <= MAX_OBJECT_LENGTH && OBJECT.test(repository);
  if (!isIcon || !isObject || (version !== undefined && !isVersionTag(version))) throw badRequest();
  try {
    return { repository: parseRepositoryName(repository), package: parseRepositoryPath(name), version };
  } catch (error) {
    throw error instanceof InvalidArgumentError ? badRequest() : error;
  }
}

function badRequest(): RefusedError {
  return new RefusedError('REQUEST_INVALID', 'bad request');
}
