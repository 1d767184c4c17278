/** Opens, reads, writes and closes the files of blobs; refuses links and pipes, and classifies errors. */
import { close, closeSync, constants, fstat, open, read, type Stats, write } from 'node:fs';
import { lstat, mkdir, open as openHandle, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import type { Descriptor } from '../../domain/descriptor.ts';
import { verifyAll } from '../../domain/verifier.ts';
import { errnoOf, StoreFailedError } from '../../domain/errors.ts';

/** The flags refuse a symbolic link, and opening a pipe does not wait for its other end. */
const SAFELY = constants.O_NOFOLLOW | constants.O_NONBLOCK;
export const READ_FLAGS = constants.O_RDONLY | SAFELY;

/** Numeric descriptors, because they can be closed synchronously, in the turn in which their file is removed. */
const openFile = promisify(open);
const statFile = promisify(fstat) as (fd: number) => Promise<Stats>;
export const closeFile = promisify(close);

/** An open regular file. */
interface OpenedFile {
  /** The descriptor; the caller must close it. */
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
}

/** Opens a file for reading. Rejects with the error of the file system, EFTYPE for a directory or a pipe. */
export function openBlob(path: string): Promise<OpenedFile> {
  return openRegular(path, READ_FLAGS);
}

/** Opens a part file for reading and writing, also one from an earlier process. Rejects as `openBlob` does. */
export function openPart(path: string): Promise<OpenedFile> {
  return openRegular(path, constants.O_RDWR | constants.O_CREAT | SAFELY);
}

async function openRegular(path: string, flags: number): Promise<OpenedFile> {
  const fd = await openFile(path, flags, 0o644);
  try {
    const stats = await statFile(fd);
    if (!stats.isFile()) throw Object.assign(new Error('EFTYPE: not a regular file'), { code: 'EFTYPE' });
    return { fd, size: stats.size };
  } catch (error) {
    await closeFile(fd);
    throw error;
  }
}

/**
 * Creates the directory and its missing parents. The recursive option of Node never ends if a parent exists but refuses new
 * entries with ENOENT, as /proc does. Rejects with the error of the file system.
 */
export async function makeDirectories(path: string, mode = 0o777): Promise<void> {
  const make = (): Promise<void> => mkdir(path, { mode }).catch(unlessThere);
  try {
    await make();
  } catch (error) {
    const above = dirname(path);
    if (errnoOf(error) !== 'ENOENT' || (await isThere(above))) throw error;
    await makeDirectories(above, mode);
    await make();
  }
}

function unlessThere(error: unknown): void {
  if (errnoOf(error) !== 'EEXIST') throw error;
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

/** Creates a new file and refuses an existing one; creates the folder again if it is missing. */
export async function openNew(path: string): Promise<number> {
  const openOnce = (): Promise<number> => openFile(path, 'wx+', 0o600);
  return openOnce().catch(async (error: unknown) => {
    if (isOutOfSpace(error)) throw error;
    await makeDirectories(dirname(path), 0o700);
    return openOnce();
  });
}

/**
 * Closes synchronously, because the disk frees the bytes of a removed file only when its descriptor is closed, and the room
 * is needed at once. A failure is ignored: the descriptor is closed anyway, and written bytes are verified from the disk.
 */
export function closeNow(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // See above.
  }
}

/** Resolves with the number of bytes that were read, 0 at the end of the file. */
export function readAt(fd: number, into: Uint8Array, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, into, 0, into.byteLength, offset, (error, bytesRead) => {
      if (error) reject(error);
      else resolve(bytesRead);
    });
  });
}

/** Resolves with the number of bytes that were written, which can be lower than requested. */
export function writeAt(fd: number, bytes: Uint8Array, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.byteLength, offset, (error, bytesWritten) => {
      if (error) reject(error);
      else resolve(bytesWritten);
    });
  });
}

/** Reads the first `size` bytes. */
export async function readWhole(fd: number, size: number): Promise<Buffer> {
  const bytes = Buffer.alloc(size);
  for (let offset = 0; offset < size;) {
    const bytesRead = await readAt(fd, bytes.subarray(offset), offset);
    if (bytesRead === 0) throw new Error('file is shorter than it should be');
    offset += bytesRead;
  }
  return bytes;
}

/**
 * Reads the first `size` bytes of a file, and one more if the file is longer. It waits for a thread in two system calls;
 * `openBlob` and `readWhole` need four, which took half of the time of a small hit. Rejects with the error of the file system.
 */
export async function readSmallBlob(path: string, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(size + 1);
  const fd = await openFile(path, READ_FLAGS);
  try {
    return bytes.subarray(0, await readAt(fd, bytes, 0));
  } finally {
    closeNow(fd);
  }
}

/** Verifies an open file. `onPiece` gets each piece and can delay. Rejects with DigestMismatchError, or as `onPiece` does. */
export function verifyFile(
  fd: number,
  blob: Pick<Descriptor, 'digest' | 'size'>,
  onPiece?: (bytes: number) => void | Promise<void>,
): Promise<void> {
  return verifyAll((into, offset) => readAt(fd, into, offset), blob, onPiece);
}

/** The volume or a quota has no free block or inode. */
export function isOutOfSpace(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === 'ENOSPC' || errno === 'EDQUOT';
}

/** An error of the disk is a failure of the store, not of the sender of the bytes. Rejects with StoreFailedError. */
export async function onDisk<Outcome>(operation: Promise<Outcome>): Promise<Outcome> {
  try {
    return await operation;
  } catch (cause) {
    throw new StoreFailedError({ cause });
  }
}

/** Replaces a file atomically: readers find the old or the new text, also after a crash. Rejects with the file system's error. */
export async function replaceFile(path: string, text: string, mode = 0o666): Promise<void> {
  const fresh = `${path}.new`;
  // A killed process can leave this file, and another user can create a link here. So it is removed, and a new file is created.
  await rm(fresh, { force: true });
  const file = await openHandle(fresh, 'wx', mode);
  try {
    await file.writeFile(text);
    await file.sync();
    await rename(fresh, path);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  await syncDirectory(dirname(path));
}

/** Syncs the names in a directory. An error is ignored: such a file system keeps the names anyway or cannot sync them. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await openHandle(path);
    await directory.sync().finally(() => directory.close());
  } catch {
    // See above.
  }
}
