/** Prevents that two processes write into the same directory, where both would write, count or remove the same files. */
import { rmSync } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { errnoOf } from '../../domain/errors.ts';

export interface HeldDirectory {
  /** Releases the directory. The kernel does this when the process ends. */
  release(): void;
}

/** The wait for another process that tries to lock at the same time. */
const BUSY_MS = 200;
/** https://sqlite.org/rescode.html: SQLITE_BUSY. */
const BUSY = 5;

/** Keeps the databases alive, because a collected database releases its lock. */
const held = new Set<DatabaseSync>();

/**
 * Locks the file `.lock` in the directory with SQLite, because Node has no file locks and SQLite uses those of the system
 * (fcntl). The kernel releases such a lock when the process ends, however it ends. The lock works across network and process
 * namespaces and on other systems, and only a user that can open the file can take it (mode 0600). Nothing is written into the
 * file, so the lock works on a full disk. Rejects with `message` if another process holds the directory.
 */
export async function holdDirectory(directory: string, message: string): Promise<HeldDirectory> {
  const path = join(directory, '.lock');
  for (;;) {
    const before = await makeFile(path);
    const database = lock(path, message);
    // The last holder may have removed the file meanwhile; then no other process would find the file of this lock.
    if ((await inodeOf(path)) === before) return holding(database, path);
    database.close();
  }
}

function lock(path: string, message: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: BUSY_MS });
    // In memory, because a journal in a file would need room on the disk.
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
      // The file is removed while it is locked, so that a process which has found it cannot lock it.
      rmSync(path, { force: true });
      database.close();
    },
  };
}

/** Resolves with the inode. An existing file is not opened, because closing any descriptor of a file releases its locks. */
async function makeFile(path: string): Promise<number | undefined> {
  const found = await inodeOf(path);
  if (found !== undefined) return found;
  const file = await open(path, 'wx', 0o600).catch((error: unknown) => {
    // Another process has created it meanwhile.
    if (errnoOf(error) !== 'EEXIST') throw error;
  });
  await file?.close();
  return inodeOf(path);
}

/** The inode; undefined if there is no file. @throws Error if it is not a regular file */
async function inodeOf(path: string): Promise<number | undefined> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats !== undefined && !stats.isFile()) throw new Error(`${path} is not a file`);
  return stats?.ino;
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === BUSY;
}
