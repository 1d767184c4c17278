/** Parses a request under /v2/: the repository, and the kind and reference of its content (distribution-spec). */
import { type Digest, parseDigest } from '../../../domain/descriptor.ts';
import { InvalidArgumentError, PackageUnknownError } from '../../../domain/errors.ts';
import {
  type ImageVersion,
  parseHost,
  parseImageVersion,
  parseRepositoryPath,
  type RepositoryPath,
} from '../../../domain/reference.ts';
import { readParameters } from '../package/package-query.ts';
import { RefusedError } from '../server/problem.ts';
import { pathSegments } from '../server/strict-requests.ts';

export const PREFIX = '/v2/';

export type DistributionPath =
  | { readonly kind: 'base' }
  | {
      readonly kind: 'manifests';
      readonly name: RepositoryPath;
      readonly version: ImageVersion;
    }
  | { readonly kind: 'blobs'; readonly name: RepositoryPath; readonly digest: Digest };

const CONTENT = /^\/v2\/.+\/(manifests|blobs)\/[^/]+$/;

/** Returns the name of the route, which never has text of the client. */
export function distributionRouteOf(path: string): string | undefined {
  if (path === PREFIX) return PREFIX;
  const [, kind] = CONTENT.exec(path) ?? [];
  return kind === undefined ? undefined : `${PREFIX}${kind}`;
}

/** Parses the raw path without its query. @throws RefusedError, InvalidArgumentError or PackageUnknownError */
export function parseDistributionPath(path: string): DistributionPath {
  if (path === PREFIX) return { kind: 'base' };
  const segments = pathSegments(path.slice(PREFIX.length)) ?? [];
  const [kind, reference = ''] = segments.slice(-2);
  if (segments.length < 3 || (kind !== 'manifests' && kind !== 'blobs')) {
    throw new RefusedError('PAGE_UNKNOWN', 'only manifests and blobs are served here');
  }
  const name = parseName(segments.slice(0, -2).join('/'));
  if (kind === 'blobs') return { kind, name, digest: parseDigest(reference) };
  const version = parseImageVersion(reference);
  if (version !== undefined) return { kind, name, version };
  if (reference.includes(':')) parseDigest(reference);
  throw new PackageUnknownError('MANIFEST_UNKNOWN');
}

function parseName(text: string): RepositoryPath {
  try {
    return parseRepositoryPath(text);
  } catch (cause) {
    throw new InvalidArgumentError('NAME_INVALID', 'name must be lower-case name components joined by "/"', { cause });
  }
}

/** Returns `?ns=`, which containerd sets to the registry that it would ask without a mirror. @throws InvalidArgumentError */
export function parseNamespace(query: string): string | undefined {
  const { ns } = readParameters(query, ['ns']);
  if (ns === '') return undefined;
  const host = parseHost(ns);
  if (host === undefined) throw new InvalidArgumentError('NAME_INVALID', 'ns must be host[:port]');
  return host;
}
