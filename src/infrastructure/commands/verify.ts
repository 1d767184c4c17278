/** `verify`: hashes every blob of a cache directory or of an OCI image layout again. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { BlobDirectory, BlobFile } from '../../adapters/blobs/blob-directory.ts';
import { errnoOf } from '../../adapters/blobs/blob-file.ts';
import {
  type Finding,
  type ListedDirectory,
  type Verification,
  verifyDirectories,
} from '../../adapters/blobs/verification.ts';
import {
  command,
  CommandFailure,
  EXIT_CODE,
  EXIT_CODES,
  JSON_FLAG,
  type Terminal,
  UsageError,
  writeJson,
} from '../../adapters/cli/command.ts';
import { formatBytes } from '../../adapters/cli/format.ts';
import { Progress } from '../../adapters/cli/progress.ts';
import { Layout } from '../../adapters/filesystem/layout.ts';
import { blobsOf, isArchive, NOT_UNPACKED } from '../../adapters/oci-layout/layout.ts';
import { findReferenceFaults } from '../../adapters/oci-layout/reference-check.ts';
import { readSettings, SETTINGS_FLAGS } from '../load-settings.ts';

export const VERIFY = command({
  about: `Reads every blob of each DIRECTORY, which is a cache or an OCI image layout as "mirror" makes it, and compares the \
bytes with the digest in the name. In a layout every manifest, config and layer that index.json leads to must be there as \
well; one platform of an index is enough. Without DIRECTORY it reads the directories that --config names.

It only reads, and is safe beside a running service: the service finds damage by itself, removes it and fetches the \
blob again; in a mirror, "mirror" does. Strangers are files whose name is no digest; they are never served.`,
  operands: ['[DIRECTORY]...'],
  flags: {
    config: SETTINGS_FLAGS.config,
    json: JSON_FLAG,
  },
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
      throw new UsageError(operands.length === 0 ? 'DIRECTORY or --config is missing' : 'either DIRECTORY or --config');
    }
    const directories = flags.config === undefined ? operands : directoriesOf(flags, terminal);
    const { stdout } = terminal;
    const result = await verify(directories, terminal, ({ kind, what, why }) => {
      if (flags.json !== true) stdout.write(`${kind}: ${printable(what)}: ${why}\n`);
    });
    if (flags.json === true) writeJson(stdout, result);
    else stdout.write(`${summary(result)}\n`);
    return result.findings.every(({ kind }) => kind === 'stranger') ? EXIT_CODE.done : EXIT_CODE.faulty;
  },
});

async function verify(
  directories: readonly string[],
  terminal: Terminal,
  say: (finding: Finding) => void,
): Promise<Verification> {
  const listed = await Promise.all(directories.map(listDirectory));
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

/** @throws CommandFailure for a directory that is neither a cache nor a layout, or cannot be read */
async function listDirectory(directory: string): Promise<ListedDirectory> {
  if (isArchive(directory)) throw new CommandFailure(`${directory} ${NOT_UNPACKED}`);
  const cache = new Layout(directory).blobs;
  if (isThere(cache.path)) return listBlobs(cache);
  if (isThere(join(directory, 'oci-layout'))) {
    return {
      ...(await listBlobs(blobsOf(directory))),
      checkReferences: (sound, unsound) => findReferenceFaults(directory, sound, unsound),
    };
  }
  throw new CommandFailure(
    isThere(directory)
      ? `${directory}: neither a cache (no v1/blobs/sha256) nor an OCI image layout (no oci-layout)`
      : `${directory}: no such directory`,
  );
}

/** @throws CommandFailure when it may be there and cannot be seen */
function isThere(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** In the order of their digests; empty when there is no directory. @throws CommandFailure when it cannot be read */
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

function directoriesOf(flags: { readonly config?: string }, terminal: Terminal): string[] {
  const { store, registry } = readSettings(flags, terminal);
  return [
    ...(store.enabled ? [store.directory] : []),
    ...(registry.gateway === 'oci-layout' ? [registry.ociLayout.directory] : []),
  ];
}

/** `12 blobs, 1.2 GiB, all sound`, or how many are not. */
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

/** A name of a foreign file, on one line and without control characters. */
function printable(name: string): string {
  return name.replaceAll(/\p{C}/gu, '?');
}
