/** The errors of the file system, by what they mean for blobs. */
import { StoreFailedError } from '../../domain/errors.ts';

/** The code of an error of the file system; undefined for another error. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
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
