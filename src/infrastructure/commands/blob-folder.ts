/** The two kinds of directories that hold blobs: which one this is, and its blobs. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { BlobDirectory, BlobFile } from '../../adapters/blobs/blob-directory.ts';
import { errnoOf } from '../../adapters/blobs/disk-error.ts';
import { Layout } from '../../adapters/filesystem/layout.ts';
import { isArchive, NOT_UNPACKED } from '../../adapters/oci-layout/archive.ts';
import { blobsOf } from '../../adapters/oci-layout/layout-files.ts';
import { CommandFailure } from '../../adapters/cli/failures.ts';

export interface BlobFolder {
  readonly kind: 'cache' | 'OCI image layout';
  readonly directory: string;
  /** Need not be there when there are none. */
  readonly blobs: BlobDirectory;
}

/** @throws CommandFailure when it is neither, or cannot be looked into */
export function blobFolderOf(directory: string): BlobFolder {
  if (isArchive(directory)) throw new CommandFailure(`${directory} ${NOT_UNPACKED}`);
  const cache = new Layout(directory).blobs;
  if (isThere(cache.path)) return { kind: 'cache', directory, blobs: cache };
  if (isThere(join(directory, 'oci-layout'))) {
    return { kind: 'OCI image layout', directory, blobs: blobsOf(directory) };
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
