/** A list of packages: a text with a line for each, or JSON in which digests have names, as Deckhouse's images_digests.json. */
import { parseBoundedJson } from '../../domain/bounded-json.ts';
import { parseDigest } from '../../domain/descriptor.ts';
import { InvalidArgumentError } from '../../domain/errors.ts';
import { type PackageRequest, parseRepositoryName, parseRepositoryPath } from '../../domain/reference.ts';
import { CommandFailure } from './failures.ts';
import { abridged } from './format-error.ts';

export interface ListedPackage extends PackageRequest {
  /** Where it is listed: `packages.txt:7`, `images_digests.json: registrypackages.jq171`. */
  readonly place: string;
}

/** For packages of which the list says a digest only. */
export type Defaults = Pick<PackageRequest, 'repository' | 'path'>;

/** In a line, for the repository of the defaults. */
const DEFAULT = '-';

/** Each package once. @throws CommandFailure with every mistake, each with its place */
export function parsePackageList(text: string, name: string, defaults: Defaults): ListedPackage[] {
  const mistakes: string[] = [];
  const packages = new Map<string, ListedPackage>();
  for (const { place, fields } of /^\s*[{[]/.test(text) ? digestsOf(text, name) : linesOf(text, name)) {
    try {
      const listed = { ...parsePackage(fields, defaults), place };
      const key = [listed.digest, listed.repository, listed.path].join(' ');
      if (!packages.has(key)) packages.set(key, listed);
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error;
      mistakes.push(`${place}: ${error.message}`);
    }
  }
  if (mistakes.length > 0) throw new CommandFailure(abridged(mistakes));
  if (packages.size === 0) throw new CommandFailure(`${name}: names no package`);
  return [...packages.values()];
}

interface Entry {
  readonly place: string;
  readonly fields: readonly string[];
}

/** @throws InvalidArgumentError */
function parsePackage(
  [digest = '', repository = DEFAULT, path, surplus]: readonly string[],
  defaults: Defaults,
): PackageRequest {
  if (surplus !== undefined) {
    throw new InvalidArgumentError(
      'QUERY_INVALID',
      'must be a digest, a repository and a path, of which the last two may be left out',
    );
  }
  return {
    digest: parseDigest(digest),
    repository: repository === DEFAULT ? defaults.repository : parseRepositoryName(repository),
    path: path === undefined ? defaults.path : parseRepositoryPath(path),
  };
}

/** A `#` at the begin of a word begins a comment. */
function linesOf(text: string, name: string): Entry[] {
  return text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .map((line, index) => ({
      place: `${name}:${String(index + 1)}`,
      fields: line
        .replace(/(^|\s)#.*/, '')
        .split(/\s+/)
        .filter((field) => field !== ''),
    }))
    .filter(({ fields }) => fields.length > 0);
}

/** @throws CommandFailure */
function digestsOf(text: string, name: string): Entry[] {
  const entries: Entry[] = [];
  const collect = (value: unknown, names: readonly string[]): void => {
    if (typeof value === 'object' && value !== null) {
      for (const [below, more] of Object.entries(value)) collect(more, [...names, below]);
    } else entries.push({ place: `${name}: ${names.join('.').replace(/\p{C}/gu, '?')}`, fields: [String(value)] });
  };
  try {
    collect(parseBoundedJson(Buffer.from(text)), []);
  } catch (cause) {
    throw new CommandFailure(`${name}: is not JSON, or too much of it`, { cause });
  }
  return entries;
}
