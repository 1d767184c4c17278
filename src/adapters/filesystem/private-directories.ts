/** Creates directories that only the service can write, because others could create links or forged files in them. */
import { lstatSync, type Stats } from 'node:fs';
import { lstat, mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, StartError } from '../../domain/errors.ts';
import { makeDirectories } from '../blobs/blob-file.ts';

const PRIVATE = 0o700;
/** The mode bits with which group or others can write. */
const WRITABLE_BY_OTHERS = 0o022;

/**
 * Creates each missing directory of `own`, in this order, after the check of its parent, so that nothing is created through a
 * link. `directory` may belong to root, as volumes of Kubernetes do. @throws StartError, or the error of the file system.
 */
export async function makePrivate(directory: string, own: readonly string[]): Promise<void> {
  // The entry at this path explains more than the error.
  const failure = await makeDirectories(directory, PRIVATE).then(
    () => undefined,
    (error: unknown) => error,
  );
  const stats = await lstat(directory).catch(() => {
    throw notMade(directory, failure);
  });
  expectRootOrPrivate(directory, stats);
  for (const path of own) {
    await mkdir(path, { mode: PRIVATE }).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw notMade(path, error);
    });
    expectPrivate(path, await lstat(path));
  }
}

/** Checks the existing directories as `makePrivate` does. @throws StartError, or the error of the file system */
export function checkPrivate(directory: string, own: readonly string[]): void {
  expectRootOrPrivate(directory, lstatSync(directory));
  for (const path of own) {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return;
    expectPrivate(path, stats);
  }
}

function notMade(path: string, error: unknown): unknown {
  const code = errnoOf(error);
  if (code === undefined) return error;
  const user = process.geteuid?.();
  const what = `${path} cannot be made${user === undefined ? '' : ` by user ${String(user)}`} (${code})`;
  return new StartError(`${what}: let this user write in ${dirname(path)}, or choose another directory`, {
    cause: error,
  });
}

function expectRootOrPrivate(directory: string, stats: Stats): void {
  if (stats.uid === 0 && process.geteuid?.() !== 0 && stats.isDirectory()) return;
  expectPrivate(directory, stats);
}

function expectPrivate(path: string, stats: Stats): void {
  if (stats.isSymbolicLink()) throw new StartError(`${path} is a symbolic link: name the directory itself`);
  if (!stats.isDirectory()) throw new StartError(`${path} is not a directory`);
  const user = process.geteuid?.();
  // Windows has no such users.
  if (user === undefined) return;
  if (stats.uid !== user) {
    const owner = `${path} belongs to user ${String(stats.uid)} and the service runs as ${String(user)}`;
    throw new StartError(`${owner}: choose a directory of its own, or chown it`);
  }
  if ((stats.mode & WRITABLE_BY_OTHERS) !== 0) {
    throw new StartError(`${path} can be written by other users: chmod go-w, or choose another directory`);
  }
}
