/** Where things lie in an OCI image layout, and how its files are read and written (image-spec, image-layout.md). */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestHex } from '../../domain/digest.ts';
import { StoreFailedError } from '../../domain/errors.ts';
import type { Proof } from '../../domain/proof.ts';

export const CHUNK_BYTES = 512 * 1024;

/** Not through a link that somebody has laid there, and without waiting at the end of a pipe. */
export const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

export function blobPath(directory: string, digest: Digest): string {
  return join(directory, 'blobs', 'sha256', digestHex(digest));
}

/** What the disk refuses is its own failure, not that of who has sent the bytes. Rejects with StoreFailedError. */
export async function onDisk<Outcome>(operation: Promise<Outcome>): Promise<Outcome> {
  try {
    return await operation;
  } catch (cause) {
    throw new StoreFailedError({ cause });
  }
}

/** Shows all of a file to the proof, and how much that is to `onBytes`. Rejects with StoreFailedError, or as the proof throws. */
export async function show(handle: FileHandle, proof: Proof, onBytes: (here: number) => void): Promise<number> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (let here = 0; ;) {
    const { bytesRead } = await onDisk(handle.read(buffer, 0, CHUNK_BYTES, here));
    if (bytesRead === 0) return here;
    proof.update(buffer.subarray(0, bytesRead));
    here += bytesRead;
    onBytes(here);
  }
}

/** Whoever reads it meanwhile, or after a crash, has the old text or the new one. Rejects with StoreFailedError. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const fresh = `${path}.new`;
  // What a kill has left, or a link that somebody has laid there: a file made anew is behind neither.
  await onDisk(rm(fresh, { force: true }));
  const handle = await onDisk(open(fresh, 'wx'));
  try {
    await onDisk(handle.writeFile(text));
    await onDisk(handle.sync());
  } finally {
    await handle.close();
  }
  await onDisk(rename(fresh, path));
}
