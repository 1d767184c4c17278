/** How a blob's file is opened, read, written and closed, so that links, pipes and stale descriptors stay out, and what errors mean. */
import { close, closeSync, constants, fstat, open, read, type Stats, write } from 'node:fs';
import { lstat, mkdir, open as openHandle, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import type { Descriptor } from '../../domain/descriptor.ts';
import { verifyAll } from '../../domain/verifier.ts';
import { errnoOf, StoreFailedError } from '../../domain/errors.ts';

/** A symbolic link is refused, and opening a pipe does not wait for its other end. */
const SAFELY = constants.O_NOFOLLOW | constants.O_NONBLOCK;
export const READ_FLAGS = constants.O_RDONLY | SAFELY;

/** Descriptors are numbers, which can be closed in the very turn in which their file is removed. */
const openFile = promisify(open);
const statFile = promisify(fstat) as (fd: number) => Promise<Stats>;
export const closeFile = promisify(close);

/** A regular file. */
interface OpenedFile {
  /** To be closed. */
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
}

/** To be read. Rejects with the error of the file system, EFTYPE for a directory or a pipe. */
export function openBlob(path: string): Promise<OpenedFile> {
  return openRegular(path, READ_FLAGS);
}

/** To be read and written; an earlier process may have left it. Rejects as `openBlob`. */
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
 * The directory, and those above it that are missing. Node's own recursion never ends where the directory above is there and
 * takes none, as /proc does (ENOENT). Rejects with the error of the file system.
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

/** A new file under a name that no other file has; its folder is made again when it is gone. */
export async function openNew(path: string): Promise<number> {
  const openOnce = (): Promise<number> => openFile(path, 'wx+', 0o600);
  return openOnce().catch(async (error: unknown) => {
    if (isOutOfSpace(error)) throw error;
    await makeDirectories(dirname(path), 0o700);
    return openOnce();
  });
}

/**
 * In this very turn: with its descriptor the bytes of a removed file leave the disk, before anything else is written there.
 * A failure is ignored: the descriptor is closed all the same, and the bytes that it wrote are verified from the disk.
 */
export function closeNow(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // See above.
  }
}

/** Resolves with how many bytes were read, 0 where the file ends. */
export function readAt(fd: number, into: Uint8Array, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, into, 0, into.byteLength, offset, (error, bytesRead) => {
      if (error) reject(error);
      else resolve(bytesRead);
    });
  });
}

/** Resolves with how many bytes were written, which may be fewer. */
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
 * The first `size` bytes of a file, or one more when there are more. Two calls of the system wait for a thread here, and four
 * in `openBlob` and `readWhole`: of the time of a small hit, half was theirs. Rejects with the error of the file system.
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

/** Reads all of an open file. `onPiece` hears of each piece and sets the pace. Rejects with DigestMismatchError, or as it does. */
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

/** A reader finds the old text or the new one, after a crash too. Rejects with the error of the file system. */
export async function replaceFile(path: string, text: string, mode = 0o666): Promise<void> {
  const fresh = `${path}.new`;
  // A killed process can leave this file, and another user can lay a link here: a new file follows neither.
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

/** The names in it; a file system that cannot do this keeps them anyway, or has nothing to sync. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await openHandle(path);
    await directory.sync().finally(() => directory.close());
  } catch {
    // See above.
  }
}
