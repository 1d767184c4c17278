/** Reads a registry from a ModuleSource, or from the default registry's Secret. */
import { parseRepositoryName, type RepositoryName } from '../../domain/reference.ts';
import { InvalidUpstreamError, parseUpstream, type Upstream, type UpstreamFields } from '../../domain/upstream.ts';
import type { RawObject } from './object-source.ts';

export interface ParsedRegistry {
  /** How requests may name it. */
  readonly names: readonly RepositoryName[];
  readonly upstream: Upstream;
}

/** Reads an object into the texts that make a registry; equal texts make an equal registry. */
export type FieldReader = (object: RawObject) => UpstreamFields;

/** `deckhouse.io/v1alpha1`, `spec.registry`. */
export function readModuleSource(object: RawObject): UpstreamFields {
  const { repo, scheme, dockerCfg, ca } = record(record(object['spec'])['registry']);
  return fieldsOf({ repo, scheme, dockerCfg, ca });
}

/** Keys `address`, `path`, `scheme`, `ca` and `.dockerconfigjson`; the last stays base64, as a ModuleSource has it. */
export function readRegistrySecret(object: RawObject): UpstreamFields {
  const data = record(object['data']);
  const text = (key: string): string => {
    const value = data[key];
    return typeof value === 'string' ? Buffer.from(value, 'base64').toString('utf8').trim() : '';
  };
  const parts = [text('address'), text('path')].map(withoutSlashes).filter((part) => part !== '');
  return fieldsOf({
    repo: parts.join('/'),
    scheme: text('scheme'),
    dockerCfg: data['.dockerconfigjson'],
    ca: text('ca'),
  });
}

/** A ModuleSource goes by its `repo` alone. @throws InvalidUpstreamError */
export function parseModuleSource(fields: UpstreamFields): ParsedRegistry {
  const upstream = parseUpstream(fields);
  return { names: [parseRepositoryName(fields.repo)], upstream };
}

/** The default registry goes by no name, by its full repository and by its bare host. @throws InvalidUpstreamError */
export function parseDefaultRegistry(fields: UpstreamFields): ParsedRegistry {
  const upstream = parseUpstream(fields);
  const host = fields.repo.split('/', 1)[0] ?? '';
  return { names: ['', fields.repo, host].map(parseRepositoryName), upstream };
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

/** Without those around it; in one pass, which two patterns for its ends would not be. */
function withoutSlashes(part: string): string {
  return /[^/](?:.*[^/])?/s.exec(part)?.[0] ?? '';
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
