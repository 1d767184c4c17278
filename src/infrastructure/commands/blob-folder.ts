/** The two kinds of directories that hold blobs: which one this is, and where they lie in it. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { Layout } from '../../adapters/filesystem/layout.ts';
import { isArchive, NOT_UNPACKED } from '../../adapters/oci-layout/archive.ts';
import { CommandFailure } from '../../adapters/cli/failures.ts';

export interface BlobFolder {
  readonly kind: 'cache' | 'OCI image layout';
  readonly directory: string;
  /** Where its blobs are; need not be there when there are none. */
  readonly blobs: string;
}

/** @throws CommandFailure when it is neither, or cannot be looked into */
export function blobFolderOf(directory: string): BlobFolder {
  if (isArchive(directory)) throw new CommandFailure(`${directory} ${NOT_UNPACKED}`);
  const cache = new Layout(directory).blobs;
  if (isThere(cache)) return { kind: 'cache', directory, blobs: cache };
  if (isThere(join(directory, 'oci-layout'))) {
    return { kind: 'OCI image layout', directory, blobs: join(directory, 'blobs', 'sha256') };
  }
  throw new CommandFailure(
    isThere(directory)
      ? `${directory}: neither a cache (no v1/blobs/sha256) nor an OCI image layout (no oci-layout)`
      : `${directory}: no such directory`,
  );
}

/** @throws CommandFailure when it may be, and we cannot know */
function isThere(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (cause) {
    const { code = 'unknown error' } = cause as NodeJS.ErrnoException;
    throw new CommandFailure(`${path}: cannot be read (${code})`, { cause });
  }
}
