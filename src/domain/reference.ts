/** Names of repositories, as requests and settings write them (distribution-spec, "Pulling manifests": the name grammar). */
import { InvalidArgumentError, RepositoryUnknownError } from './errors.ts';

declare const nameBrand: unique symbol;
declare const pathBrand: unique symbol;

/** `host[:port][/path]` as configured, without a trailing slash; the empty name means the default registry. */
export type RepositoryName = string & { readonly [nameBrand]: 'RepositoryName' };

/** One or more name components, joined by `/`. */
export type RepositoryPath = string & { readonly [pathBrand]: 'RepositoryPath' };

export interface Repository {
  /** Host in lower case, with its port when one is given. */
  readonly host: string;
  /** Undefined for a bare host, which names a registry but no repository in it. */
  readonly path: RepositoryPath | undefined;
}

export const DEFAULT_REPOSITORY = '' as RepositoryName;

const MAX_LENGTH = 255;
const PATH = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?$/;

/** @throws InvalidArgumentError when `text` is not the OCI grammar of a repository's name. */
export function parseRepositoryPath(text: string): RepositoryPath {
  if (text.length > MAX_LENGTH || !PATH.test(text)) {
    throw new InvalidArgumentError('NAME_INVALID', 'path must be lower-case name components joined by "/"');
  }
  return text as RepositoryPath;
}

/** @throws InvalidArgumentError when `text` is neither empty nor `host[:port][/path][/]`. */
export function parseRepositoryName(text: string): RepositoryName {
  if (text === '') return DEFAULT_REPOSITORY;
  const name = text.endsWith('/') ? text.slice(0, -1) : text;
  parseRepository(name);
  return name as RepositoryName;
}

/** @throws InvalidArgumentError when `text` is not `host[:port][/path]`. */
export function parseRepository(text: string): Repository {
  const slash = text.indexOf('/');
  const host = slash < 0 ? text : text.slice(0, slash);
  const match = text.length <= MAX_LENGTH ? HOST.exec(host) : null;
  if (match === null || host.includes('..') || Number(match[1] ?? 0) > 65535) {
    throw new InvalidArgumentError('NAME_INVALID', 'repository must be host[:port][/path]');
  }
  return { host: host.toLowerCase(), path: slash < 0 ? undefined : parseRepositoryPath(text.slice(slash + 1)) };
}

/**
 * `base/path`; the base may be absent.
 * @throws RepositoryUnknownError when that is too long for a name, which neither of them is: nothing can be called so.
 */
export function joinPath(base: RepositoryPath | undefined, path: RepositoryPath): RepositoryPath {
  const joined = base === undefined ? path : `${base}/${path}`;
  if (joined.length > MAX_LENGTH) {
    throw new RepositoryUnknownError('path is too long below this repository');
  }
  return joined as RepositoryPath;
}
