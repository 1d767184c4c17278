/** Keeps a second process from writing into the same directory: both would write, count or remove the same files. */
import { rmSync } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { errnoOf } from '../../domain/errors.ts';

export interface HeldDirectory {
  /** Gives the directory back. The kernel does that for a process that ends before. */
  release(): void;
}

/** Two processes that start at once may each see the other one try. */
const BUSY_MS = 200;
/** https://sqlite.org/rescode.html: SQLITE_BUSY. */
const BUSY = 5;

/** A database that is collected as garbage gives its lock back. */
const held = new Set<DatabaseSync>();

/**
 * Locks the file `.lock` in the directory, by SQLite: Node has no file locks of its own, and SQLite takes those of the system
 * (fcntl). The kernel gives such a lock back when its process ends, however that happens; it holds across network and process
 * namespaces and outside Linux, and only a user that may open the file can take it (mode 0600). Nothing is ever written
 * into the file, so a full disk does not matter. Rejects with `message` when another process holds the directory.
 */
export async function holdDirectory(directory: string, message: string): Promise<HeldDirectory> {
  const path = join(directory, '.lock');
  for (;;) {
    const before = await makeFile(path);
    const database = lock(path, message);
    // The last holder may have removed the file in between: then this lock is on a file that no other process finds.
    if ((await inodeOf(path)) === before) return holding(database, path);
    database.close();
  }
}

function lock(path: string, message: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: BUSY_MS });
    // A journal in a file would need room on the disk.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (cause) {
    database?.close();
    throw isBusy(cause) ? new Error(message) : new Error(`${path} cannot be locked`, { cause });
  }
  return database;
}

function holding(database: DatabaseSync, path: string): HeldDirectory {
  held.add(database);
  return {
    release: () => {
      if (!held.delete(database)) return;
      // Removed while it is locked, so that a process which still finds the file cannot lock it.
      rmSync(path, { force: true });
      database.close();
    },
  };
}

/** Resolves with its inode. An existing one is not opened: the system gives a lock back with any descriptor of its file. */
async function makeFile(path: string): Promise<number | undefined> {
  const found = await inodeOf(path);
  if (found !== undefined) return found;
  const file = await open(path, 'wx', 0o600).catch((error: unknown) => {
    // Another process has made it in between.
    if (errnoOf(error) !== 'EEXIST') throw error;
  });
  await file?.close();
  return inodeOf(path);
}

/** Undefined when there is none. @throws Error when it is no file */
async function inodeOf(path: string): Promise<number | undefined> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats !== undefined && !stats.isFile()) throw new Error(`${path} is not a file`);
  return stats?.ino;
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === BUSY;
}
