/** The flags of every command for a list of packages, and that list. */
import { readFile } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { text as textOf } from 'node:stream/consumers';
import { InvalidArgumentError } from '../../domain/errors.ts';
import { parseRepositoryName, parseRepositoryPath } from '../../domain/reference.ts';
import { CommandFailure, UsageError } from './failures.ts';
import type { Values } from './flags.ts';
import { type ListedPackage, parsePackageList } from './package-list.ts';
import { formatError } from './format-error.ts';

/** The flags of every command for many packages. */
export const LIST_FLAGS = {
  list: {
    type: 'string',
    value: 'FILE',
    about:
      'a package a line: DIGEST [REPOSITORY [PATH]], "-" for the default repository, # for comments; or JSON with digests by name; "-" for standard input',
  },
  repository: { type: 'string', value: 'REPOSITORY', about: 'of packages of which the list says none' },
  path: { type: 'string', value: 'PATH', about: 'likewise, below the repository' },
} as const;

/** @throws UsageError, or CommandFailure for a list that cannot be read or has mistakes */
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
    throw new CommandFailure(`${list} cannot be read: ${formatError(cause)}`, { cause });
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
