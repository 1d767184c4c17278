/** The two kinds of directories that hold blobs: which one this is, and where they lie in it. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Layout } from '../../adapters/filesystem/layout.ts';
import { CommandFailure } from './failures.ts';

export interface BlobFolder {
  readonly kind: 'cache' | 'OCI image layout';
  readonly directory: string;
  /** Where its blobs are; need not be there when there are none. */
  readonly blobs: string;
}

/** @throws CommandFailure when it is neither */
export function blobFolderOf(directory: string): BlobFolder {
  const cache = new Layout(directory).blobs;
  if (existsSync(cache)) return { kind: 'cache', directory, blobs: cache };
  if (existsSync(join(directory, 'oci-layout'))) {
    return { kind: 'OCI image layout', directory, blobs: join(directory, 'blobs', 'sha256') };
  }
  throw new CommandFailure(
    existsSync(directory)
      ? `${directory}: neither a cache (no v1/blobs/sha256) nor an OCI image layout (no oci-layout)`
      : `${directory}: no such directory`,
  );
}
