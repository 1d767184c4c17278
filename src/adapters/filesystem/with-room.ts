/** Writes on a volume that may be full: what can leave the cache leaves it, and the write is tried again. */
import { StoreFailedError } from '../../domain/errors.ts';
import { isOutOfSpace } from '../blobs/blob-file.ts';

/** Each try evicts as much as the write needs; other processes may write on the volume, too. */
const MAX_TRIES = 4;

export interface Relief {
  /** The volume has no block for `bytes` bytes, as `cause` says: returns whether it may have one now. @throws StoreFailedError */
  relieve(bytes: number, cause: unknown): boolean;
}

/**
 * @throws StoreFailedError: a full or broken disk is the store's failure, not the upstream's, and the request can still be
 * answered from there.
 */
export async function withRoom<Result>(relief: Relief, bytes: number, write: () => Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries++) {
    try {
      return await write();
    } catch (cause) {
      if (!isOutOfSpace(cause) || tries === MAX_TRIES || !relief.relieve(bytes, cause))
        throw new StoreFailedError({ cause });
    }
  }
}
