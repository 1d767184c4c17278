/** Names of registries, repositories, tags and packages (distribution-spec, "Pulling manifests": the grammar of names). */
import { InvalidArgumentError, RepositoryUnknownError } from './errors.ts';
import { type Descriptor, type Digest, isDigest } from './descriptor.ts';

declare const nameBrand: unique symbol;
declare const pathBrand: unique symbol;

/** `host[:port][/path]` as configured, without a trailing slash; the empty name means the default registry. */
export type RepositoryName = string & { readonly [nameBrand]: 'RepositoryName' };

/** One or more name components, joined by `/`. */
export type RepositoryPath = string & { readonly [pathBrand]: 'RepositoryPath' };

interface Repository {
  /** The host as in a URL (lower case, Punycode, the short form of an IPv6 address), with its port if one is given. */
  readonly host: string;
  /** Undefined for a bare host, which names a registry without a repository. */
  readonly path: RepositoryPath | undefined;
}

export const DEFAULT_REPOSITORY = '' as RepositoryName;

const MAX_LENGTH = 255;
const PATH = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
/** Go's library accepts any host of a URL, so underscores and letters of all scripts are valid. */
const HOST = /^([\p{L}\p{N}](?:[\p{L}\p{M}\p{N}._-]*[\p{L}\p{M}\p{N}])?|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?$/u;

const PATH_RULE = 'path must be lower-case name components joined by "/"';
const REPOSITORY_RULE = 'repository must be host[:port][/path], its path lower-case name components joined by "/"';

/** @throws InvalidArgumentError with `rule` if `text` is not a repository name of the OCI grammar. */
export function parseRepositoryPath(text: string, rule = PATH_RULE): RepositoryPath {
  if (text.length > MAX_LENGTH || !PATH.test(text)) throw new InvalidArgumentError('NAME_INVALID', rule);
  return text as RepositoryPath;
}

/** @throws InvalidArgumentError if `text` is neither empty nor `host[:port][/path][/]`. */
export function parseRepositoryName(text: string): RepositoryName {
  if (text === '') return DEFAULT_REPOSITORY;
  const name = text.endsWith('/') ? text.slice(0, -1) : text;
  parseRepository(name);
  return name as RepositoryName;
}

/** @throws InvalidArgumentError if `text` is not `host[:port][/path]`. */
export function parseRepository(text: string): Repository {
  const slash = text.indexOf('/');
  const host = text.length <= MAX_LENGTH ? parseHost(slash < 0 ? text : text.slice(0, slash)) : undefined;
  if (host === undefined) throw new InvalidArgumentError('NAME_INVALID', 'repository must be host[:port][/path]');
  const path = slash < 0 ? undefined : parseRepositoryPath(text.slice(slash + 1), REPOSITORY_RULE);
  return { host, path };
}

/**
 * Returns the canonical spelling of `host[:port]`; undefined if `text` is not one. The port stays, because the default port
 * depends on the scheme.
 */
export function parseHost(text: string): string | undefined {
  const [, name, port] = HOST.exec(text) ?? [];
  if (name === undefined || name.includes('..') || Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535)
    return undefined;
  // The expression accepts 192.0.2.999, and the URL parser does not.
  const hostname = URL.parse(`https://${name}`)?.hostname;
  return hostname === undefined || port === undefined ? hostname : `${hostname}:${String(Number(port))}`;
}

/**
 * Returns `base/path`; the base may be absent.
 * @throws RepositoryUnknownError if the result is too long for a name, because no repository can have it.
 */
export function joinPath(base: RepositoryPath | undefined, path: RepositoryPath): RepositoryPath {
  const joined = base === undefined ? path : `${base}/${path}`;
  if (joined.length > MAX_LENGTH) {
    throw new RepositoryUnknownError('path is too long below this repository');
  }
  return joined as RepositoryPath;
}

/** The name of Docker Hub in the Go library (go-containerregistry, `name.DefaultRegistry`). */
const DOCKER_HUB = 'index.docker.io';
/** People write the second name; Docker's own client sends requests to the third. */
const DOCKER_HUB_NAMES: ReadonlySet<string> = new Set([DOCKER_HUB, 'docker.io', 'registry-1.docker.io']);
/** The namespace of Docker Hub for repositories of one component: `alpine` is `library/alpine`. */
const DOCKER_HUB_NAMESPACE = 'library' as RepositoryPath;

/**
 * Returns the host to which requests for `host[:port]` go. `docker.io` is a web site, so the Go library sends them to
 * `index.docker.io`.
 */
export function registryHost(host: string, scheme: 'http' | 'https'): string {
  const { host: spelled } = new URL(`${scheme}://${host}`);
  return spelled === 'docker.io' ? DOCKER_HUB : spelled;
}

/** Returns a key that is the same for all names of one registry, so that they share their state. */
export function registryKey(host: string, scheme: 'http' | 'https'): string {
  const { host: spelled } = new URL(`${scheme}://${host}`);
  return DOCKER_HUB_NAMES.has(spelled) ? DOCKER_HUB : spelled;
}

/** Returns all names of the registry `host` in a configuration, for both schemes. */
export function registryNames(host: string): readonly string[] {
  if (DOCKER_HUB_NAMES.has(host)) return [...DOCKER_HUB_NAMES];
  const [, name = host, port] = /^(.*?)(?::(\d+))?$/.exec(host) ?? [];
  if (port === undefined) return [name, `${name}:443`, `${name}:80`];
  return port === '443' || port === '80' ? [host, name] : [host];
}

/** Returns the name of the repository `path` at the registry `host`. */
export function repositoryIn(host: string, path: RepositoryPath): RepositoryPath {
  return DOCKER_HUB_NAMES.has(host) && !path.includes('/') ? joinPath(DOCKER_HUB_NAMESPACE, path) : path;
}

declare const tagBrand: unique symbol;

/** The name of an image version; a publisher can move it to another image. */
export type Tag = string & { readonly [tagBrand]: 'Tag' };

const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

export function isTag(text: string): text is Tag {
  return TAG.test(text);
}

/** The version of an image that a request names. */
export type ImageVersion = { readonly digest: Digest } | { readonly tag: Tag };

/** Returns undefined for a text that is neither a digest nor a tag. */
export function parseImageVersion(text: string): ImageVersion | undefined {
  if (isDigest(text)) return { digest: text };
  return isTag(text) ? { tag: text } : undefined;
}

/** The name of a package in a request. */
export interface PackageRequest {
  /** The digest of an image manifest or an index. */
  readonly digest: Digest;
  readonly repository: RepositoryName;
  /** The path below the repository. */
  readonly path: RepositoryPath | undefined;
  /** Whether the path is below the parent of the repository. Registries of editions keep images for all editions there. */
  readonly isBeside?: boolean;
}

/** The package to which a requested digest leads. */
export interface Package {
  /** The requested digest. */
  readonly digest: Digest;
  /** The blob that is the package, with the bytes as the registry stores them. */
  readonly layer: Descriptor;
}

/** A package of a list that could not be fetched. */
export interface PackageFailure<Request> {
  readonly request: Request;
  readonly error: unknown;
}
