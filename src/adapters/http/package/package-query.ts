/** Parses the query of /package strictly, so that the service reads the same package that the sidecar has authorized. */
import { parseDigest } from '../../../domain/descriptor.ts';
import { InvalidArgumentError } from '../../../domain/errors.ts';
import { type PackageRequest, parseRepositoryName, parseRepositoryPath } from '../../../domain/reference.ts';

const MAX_BYTES = 2048;
export const PACKAGE_PARAMETERS = ['digest', 'repository', 'path'] as const;

/** @throws InvalidArgumentError */
export function parsePackageQuery(query: string): PackageRequest {
  const { digest, repository, path } = readParameters(query, PACKAGE_PARAMETERS);
  if (digest === '') throw new InvalidArgumentError('DIGEST_INVALID', 'missing required query parameter "digest"');
  return {
    digest: parseDigest(digest),
    repository: parseRepositoryName(repository),
    path: path === '' ? undefined : parseRepositoryPath(path),
  };
}

/** The decoded values; absent ones are empty. */
export type PackageParameters = Readonly<Record<(typeof PACKAGE_PARAMETERS)[number], string>>;

/**
 * Parses `a=b&c=d` without the `?`; known parameters that are absent are empty. Unknown parameters are ignored. Text that
 * two parsers could read differently (a repeated parameter, a `;`, a bad escape) is refused, so that the result cannot
 * differ from Go's.
 * @throws InvalidArgumentError
 */
export function readParameters<Name extends string>(
  query: string,
  names: readonly Name[],
): Readonly<Record<Name, string>> {
  if (query.length > MAX_BYTES) throw invalid('query is longer than 2 KiB');
  if (query.includes(';')) throw invalid('query must not contain ";"');
  const found = new Map<string, string>();
  for (const pair of query.split('&')) {
    const [key, value] = splitPair(pair);
    if (found.has(key) && names.some((name) => name === key)) throw invalid(`repeated query parameter "${key}"`);
    found.set(key, value);
  }
  return Object.fromEntries(names.map((name) => [name, found.get(name) ?? ''])) as Record<Name, string>;
}

function splitPair(pair: string): [key: string, value: string] {
  const equals = pair.indexOf('=');
  return equals < 0 ? [decode(pair), ''] : [decode(pair.slice(0, equals)), decode(pair.slice(equals + 1))];
}

/** Decodes form encoding: `+` is a space (which no grammar of this service allows). */
function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch (cause) {
    throw invalid('query has an invalid escape', cause);
  }
}

function invalid(message: string, cause?: unknown): InvalidArgumentError {
  return new InvalidArgumentError('QUERY_INVALID', message, { cause });
}
