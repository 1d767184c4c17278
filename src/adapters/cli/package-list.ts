/** A list of packages: its flags, its formats, and the report of the packages that failed. */
import { parseBoundedJson } from '../../domain/bounded-json.ts';
import { parseDigest } from '../../domain/descriptor.ts';
import { InvalidArgumentError, StoreFailedError } from '../../domain/errors.ts';
import {
  type PackageFailure,
  type PackageRequest,
  parseRepositoryName,
  parseRepositoryPath,
} from '../../domain/reference.ts';
import { CommandFailure, type Terminal, UsageError, type Values } from './command.ts';
import { abridged, codeOf, formatError } from './format.ts';
import { readFile } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { text as textOf } from 'node:stream/consumers';

export interface ListedPackage extends PackageRequest {
  /** The place in the list: `packages.txt:7`, `images_digests.json: registrypackages.jq171`. */
  readonly place: string;
}

/** The values for packages for which the list has only a digest. */
type Defaults = Pick<PackageRequest, 'repository' | 'path'>;

/** The field of a line that means the default repository. */
const DEFAULT = '-';

/** Returns each package once. @throws CommandFailure with all mistakes and their places */
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
    throw new InvalidArgumentError('QUERY_INVALID', 'must be a digest, optionally with a repository and a path');
  }
  return {
    digest: parseDigest(digest),
    repository: repository === DEFAULT ? defaults.repository : parseRepositoryName(repository),
    path: path === undefined ? defaults.path : parseRepositoryPath(path),
  };
}

/** A `#` at the beginning of a word begins a comment. */
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
    throw new CommandFailure(`${name}: is not JSON, or too large`, { cause });
  }
  return entries;
}

/** The flags of each command for many packages. */
export const LIST_FLAGS = {
  list: {
    type: 'string',
    value: 'FILE',
    about:
      'list with one package per line: DIGEST [REPOSITORY [PATH]] (REPOSITORY "-" is the default, # begins a comment); or JSON with digests by name; "-" for standard input',
  },
  repository: { type: 'string', value: 'REPOSITORY', about: 'repository of packages without one in the list' },
  path: { type: 'string', value: 'PATH', about: 'path of packages without one in the list, below the repository' },
} as const;

/** @throws UsageError, or CommandFailure if the list is unreadable or has mistakes */
export async function readPackageList(
  flags: Values<typeof LIST_FLAGS>,
  interrupted: AbortSignal,
): Promise<ListedPackage[]> {
  const { list, repository = '', path } = flags;
  if (list === undefined) throw new UsageError('--list is missing');
  const defaults = {
    repository: ofFlag('repository', () => parseRepositoryName(repository)),
    path: path === undefined ? undefined : ofFlag('path', () => parseRepositoryPath(path)),
  };
  if (list === '-')
    return parsePackageList(await textOf(addAbortSignal(interrupted, process.stdin)), 'stdin', defaults);
  const text = await readFile(list, { encoding: 'utf8', signal: interrupted }).catch((cause: unknown) => {
    interrupted.throwIfAborted();
    throw new CommandFailure(`${list}: cannot be read (${codeOf(cause)})`, { cause });
  });
  return parsePackageList(text, list, defaults);
}

function ofFlag<Value>(name: string, parse: () => Value): Value {
  try {
    return parse();
  } catch (cause) {
    if (!(cause instanceof InvalidArgumentError)) throw cause;
    throw new UsageError(`--${name}: ${cause.message}`, { cause });
  }
}

/** A failed package in the format of `--json`. */
interface ListedFailure {
  readonly place: string;
  readonly digest: string;
  readonly reason: string;
}

interface Outcome {
  readonly failures: readonly ListedFailure[];
  /** The reason why the work ended before all packages were tried; otherwise null. */
  readonly ended: string | null;
}

/** Prints the failures of packages, or of the common directory `where`. `onFailure` gets each one first. */
export async function tellOutcome(
  work: Promise<readonly PackageFailure<ListedPackage>[]>,
  where: string,
  { stderr, interrupted }: Terminal,
  onFailure: (error: unknown) => void = () => undefined,
): Promise<Outcome> {
  try {
    const failures = (await work).map(({ request: { place, digest }, error }) => {
      onFailure(error);
      return { place, digest, reason: formatError(error) };
    });
    const lines = failures.map(({ place, digest, reason }) => `${place}: ${digest}: ${reason}`);
    if (lines.length > 0) stderr.write(`${abridged(lines)}\n`);
    return { failures, ended: null };
  } catch (error) {
    if (!interrupted.aborted && !(error instanceof StoreFailedError)) throw error;
    const ended = interrupted.aborted ? 'interrupted' : formatError(error);
    stderr.write(`${where}: ${ended}; the same command goes on from here\n`);
    return { failures: [], ended };
  }
}

export function isFlawless({ failures, ended }: Outcome): boolean {
  return failures.length === 0 && ended === null;
}
