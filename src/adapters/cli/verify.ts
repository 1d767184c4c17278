/** `verify`: hashes all blobs of a cache directory or of an OCI image layout again. */
import { statSync } from 'node:fs';
import { errnoOf } from '../../domain/errors.ts';
import type { BlobDirectory, BlobFile } from '../blobs/blob-directory.ts';
import { type Finding, type ListedDirectory, type Verification, verifyDirectories } from '../blobs/verification.ts';
import {
  type Command,
  command,
  CommandFailure,
  EXIT_CODE,
  EXIT_CODES,
  JSON_FLAG,
  SETTINGS_FLAGS,
  type Terminal,
  UsageError,
  type Values,
  writeJson,
} from './command.ts';
import { formatBytes } from './format.ts';
import { Progress } from './progress.ts';

const FLAGS = { config: SETTINGS_FLAGS.config, json: JSON_FLAG } as const;

interface Directories {
  /** Returns the directories that the settings name. */
  readonly directoriesOf: (flags: Values<typeof FLAGS>, terminal: Terminal) => readonly string[];
  /** @throws CommandFailure for a directory of another kind, or an unreadable one */
  readonly open: (directory: string) => OpenDirectory;
}

interface OpenDirectory extends Pick<ListedDirectory, 'checkReferences'> {
  readonly blobs: BlobDirectory;
}

export function verifyCommand({ directoriesOf, open }: Directories): Command {
  return command({
    about: `Reads every blob of each DIRECTORY and compares its bytes with the digest in its name. DIRECTORY is a cache, or an OCI \
image layout such as a directory of "mirror". In a layout every manifest, config and layer that index.json leads to must \
exist, too; one platform of an index is enough. Without DIRECTORY it reads the directories that --config names.

This command only reads, and is safe beside a running service. A running service finds a damaged blob, removes it and \
fetches it again; in a mirror, "mirror" fetches it again. A stranger is a file whose name is not a digest; it is never served.`,
    operands: ['[DIRECTORY]...'],
    flags: FLAGS,
    examples: [
      { to: 'the cache of a node', run: 'verify /cache' },
      { to: 'the mirror of this repository', run: 'verify examples/mirror' },
      { to: 'the directories of a settings file, for a script', run: 'verify --config config/demo.yaml --json' },
    ],
    exits: {
      ...EXIT_CODES,
      1: 'wrong flags or settings, or no such directory',
      2: 'a blob is damaged, unreadable or missing',
    },
    async run({ flags, operands }, terminal) {
      if (operands.length > 0 === (flags.config !== undefined)) {
        throw new UsageError(
          operands.length === 0 ? 'DIRECTORY or --config is missing' : 'either DIRECTORY or --config',
        );
      }
      const directories = flags.config === undefined ? operands : directoriesOf(flags, terminal);
      const { stdout } = terminal;
      const listed = await Promise.all(directories.map(async (directory) => listDirectory(open(directory))));
      const result = await verify(listed, terminal, ({ kind, what, why }) => {
        if (flags.json !== true) stdout.write(`${kind}: ${printable(what)}: ${why}\n`);
      });
      if (flags.json === true) writeJson(stdout, result);
      else stdout.write(`${summary(result)}\n`);
      return result.findings.every(({ kind }) => kind === 'stranger') ? EXIT_CODE.done : EXIT_CODE.faulty;
    },
  });
}

async function verify(
  listed: readonly ListedDirectory[],
  terminal: Terminal,
  say: (finding: Finding) => void,
): Promise<Verification> {
  const progress = new Progress(terminal, { title: 'verify', unit: 'bytes' });
  progress.total = listed.flatMap(({ blobs }) => blobs).reduce((sum, { stats }) => sum + stats.size, 0);
  const onPiece = (bytes: number): void => {
    terminal.interrupted.throwIfAborted();
    progress.advance(bytes);
  };
  const onFinding = (finding: Finding): void => {
    progress.clear();
    say(finding);
  };
  return verifyDirectories(listed, onPiece, onFinding).finally(() => {
    progress.end();
  });
}

async function listDirectory({ blobs, checkReferences }: OpenDirectory): Promise<ListedDirectory> {
  return { ...(await listBlobs(blobs)), checkReferences };
}

/** @throws CommandFailure if the path may exist, but is not accessible */
export function isThere(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/**
 * Resolves with the blobs in the order of their digests; empty if there is no directory. @throws CommandFailure if it is
 * unreadable
 */
export async function listBlobs(directory: BlobDirectory): Promise<{ blobs: BlobFile[]; strangers: string[] }> {
  try {
    const { blobs, strangers } = await directory.list();
    return { blobs: blobs.sort((a, b) => (a.path < b.path ? -1 : 1)), strangers: strangers.sort() };
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return { blobs: [], strangers: [] };
    throw unreadable(directory.path, cause);
  }
}

function unreadable(path: string, cause: unknown): CommandFailure {
  return new CommandFailure(`${path}: cannot be read (${errnoOf(cause) ?? 'unknown error'})`, { cause });
}

/** Returns `12 blobs, 1.2 GiB, all sound`, or the numbers of findings. */
function summary({ blobs, bytes, findings }: Verification): string {
  const found = (sought: Finding['kind']): number => findings.filter(({ kind }) => kind === sought).length;
  const faults = (['damaged', 'unreadable', 'missing'] as const)
    .filter((kind) => found(kind) > 0)
    .map((kind) => `${String(found(kind))} ${kind}`);
  const strangers = found('stranger') === 0 ? [] : [numbered(found('stranger'), 'stranger')];
  return [
    numbered(blobs, 'blob'),
    formatBytes(bytes),
    ...(faults.length === 0 ? ['all sound'] : faults),
    ...strangers,
  ].join(', ');
}

function numbered(count: number, noun: string): string {
  return `${String(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** Returns the name of a foreign file on one line and without control characters. */
function printable(name: string): string {
  return name.replaceAll(/\p{C}/gu, '?');
}
