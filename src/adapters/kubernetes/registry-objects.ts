/** Reads registries from ModuleSources, PackageRepositories and the objects of the default registry. */
import { parseRepositoryName, type RepositoryName } from '../../domain/reference.ts';
import {
  InvalidUpstreamError,
  isFallback,
  parseUpstream,
  type Upstream,
  type UpstreamFields,
} from '../../domain/upstream.ts';
import type { RawObject } from './object-source.ts';

export interface ParsedRegistry {
  /** The names that requests can use. */
  readonly names: readonly RepositoryName[];
  readonly upstream: Upstream;
}

/** Parses the registry of the object with this name; undefined if it configures none. @throws InvalidUpstreamError */
export type RegistryParser = (fields: UpstreamFields, object: string) => ParsedRegistry | undefined;

/** Reads the fields of a registry from an object; equal fields mean an equal registry. */
export type FieldReader = (object: RawObject) => UpstreamFields;

/** `spec.registry` of a ModuleSource and of a PackageRepository (`deckhouse.io/v1alpha1`). */
export function readSpecRegistry(object: RawObject): UpstreamFields {
  const { repo, scheme, dockerCfg, ca } = record(record(object['spec'])['registry']);
  return fieldsOf({ repo, scheme, dockerCfg, ca });
}

/** The keys `address`, `path`, `scheme`, `ca` and `.dockerconfigjson`; the last stays in base64, as in a ModuleSource. */
export function readRegistrySecret(object: RawObject): UpstreamFields {
  const data = record(object['data']);
  const text = (key: string): string => decoded(data[key]).trim();
  const parts = [text('address'), text('path')].map(withoutSlashes).filter((part) => part !== '');
  return fieldsOf({
    repo: parts.join('/'),
    scheme: text('scheme'),
    dockerCfg: data['.dockerconfigjson'],
    ca: text('ca'),
  });
}

/** The key `base` of a ConfigMap, `host[:port]/path`: a registry with HTTPS, without a credential and a CA. */
export function readImageAddress(object: RawObject): UpstreamFields {
  const { base = '' } = record(object['data']);
  return fieldsOf({
    repo: typeof base === 'string' ? withoutSlashes(base.trim()) : base,
    scheme: undefined,
    dockerCfg: undefined,
    ca: undefined,
  });
}

/** The name of the store in its index. Requests cannot use it. */
export const STORE = 'registry.d8-system.svc:5001';

/** The keys `ca.crt`, `username` and `password`; if one is missing, there is no account. */
export function readStoreAccount(object: RawObject): UpstreamFields {
  const data = record(object['data']);
  const [ca, username, password] = ['ca.crt', 'username', 'password'].map((key) => decoded(data[key]));
  const isWhole = [ca, username, password].every((text) => text !== '');
  const auths = { [STORE]: { username, password } };
  const dockerCfg = Buffer.from(JSON.stringify({ auths })).toString('base64');
  return isWhole ? { repo: STORE, scheme: 'HTTPS', dockerCfg, ca } : { repo: '' };
}

/** The only name of a ModuleSource is its `repo`. @throws InvalidUpstreamError */
export function parseModuleSource(fields: UpstreamFields): ParsedRegistry {
  const upstream = parseUpstream(fields);
  return { names: [parseRepositoryName(fields.repo)], upstream };
}

/** The default registry has three names: the empty name, its full repository, and its host. @throws InvalidUpstreamError */
export function parseDefaultRegistry(fields: UpstreamFields): ParsedRegistry {
  const upstream = parseUpstream(fields);
  const host = fields.repo.split('/', 1)[0] ?? '';
  return { names: ['', fields.repo, host].map(parseRepositoryName), upstream };
}

/** A PackageRepository has its object name. @throws InvalidUpstreamError, also if its docker config is for other registries */
export function parsePackageRepository(fields: UpstreamFields, object: string): ParsedRegistry {
  const upstream = parseUpstream(fields);
  if (isFallback(upstream.registry)) throw new InvalidUpstreamError('dockerCfg', 'has no entry for the registry');
  return { names: [parseRepositoryName(object)], upstream };
}

/** Undefined for an object that configures no registry. @throws InvalidUpstreamError */
export function unlessEmpty(parse: (fields: UpstreamFields) => ParsedRegistry): RegistryParser {
  return (fields) => (fields.repo === '' ? undefined : parse(fields));
}

/** The value of a key of a Secret; empty if there is none. */
function decoded(value: unknown): string {
  return typeof value === 'string' ? Buffer.from(value, 'base64').toString('utf8') : '';
}

function fieldsOf(fields: Readonly<Record<keyof UpstreamFields, unknown>>): UpstreamFields {
  const text = (name: keyof UpstreamFields): string | undefined => {
    const value = fields[name];
    if (value === undefined || value === null || value === '') return undefined;
    if (typeof value !== 'string') throw new InvalidUpstreamError(name, 'is not text');
    return value;
  };
  return { repo: text('repo') ?? '', scheme: text('scheme'), dockerCfg: text('dockerCfg'), ca: text('ca') };
}

/** Removes leading and trailing slashes in one pass; two regular expressions would need more. */
function withoutSlashes(part: string): string {
  return /[^/](?:.*[^/])?/s.exec(part)?.[0] ?? '';
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
