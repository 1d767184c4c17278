/** Where things lie in an OCI image layout, and how its files are read and written (image-spec, image-layout.md). */
import { constants } from 'node:fs';
import { type FileHandle, open, realpath, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { asObject } from '../../domain/descriptor.ts';
import { type Digest, digestHex } from '../../domain/digest.ts';
import { StoreFailedError } from '../../domain/errors.ts';
import type { Verifier } from '../../domain/verifier.ts';

export const CHUNK_BYTES = 512 * 1024;

/** A symbolic link is refused, and opening a pipe does not wait for its other end. */
export const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** The largest index.json: some 400 000 images. */
const MAX_JSON_BYTES = 64 * 1024 * 1024;

export function blobPath(directory: string, digest: Digest): string {
  return join(directory, 'blobs', 'sha256', digestHex(digest));
}

/** To be closed; `size` in bytes. Rejects when it is no regular file, which a disk that is carried may bring, or as `open`. */
export async function openFile(path: string): Promise<{ handle: FileHandle; size: number }> {
  const handle = await open(path, READ_FLAGS);
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw new Error('no regular file');
    return { handle, size: stats.size };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * The JSON object in a file of the directory itself, with or without a byte order mark. The file may be a link within the
 * directory, as in a volume of a ConfigMap. Rejects when it is no object or the link leads out, or as `openFile`.
 */
export async function readObject(directory: string, name: string): Promise<Record<string, unknown>> {
  const path = await realpath(join(directory, name));
  if (!path.startsWith(join(await realpath(directory), '/'))) throw new Error('link out of the directory');
  const { handle, size } = await openFile(path);
  try {
    if (size > MAX_JSON_BYTES) throw new Error('larger than 64 MiB');
    return asObject(JSON.parse(new TextDecoder().decode(await handle.readFile())), name);
  } finally {
    await handle.close();
  }
}

/** An error of the disk is a failure of the store, not of the sender of the bytes. Rejects with StoreFailedError. */
export async function onDisk<Outcome>(operation: Promise<Outcome>): Promise<Outcome> {
  try {
    return await operation;
  } catch (cause) {
    throw new StoreFailedError({ cause });
  }
}

/** Shows all of a file to the verifier, and how much that is to `onBytes`. Rejects with StoreFailedError, the reason of `signal`, or as `verifier` throws. */
export async function show(
  handle: FileHandle,
  verifier: Verifier,
  onBytes: (here: number) => void,
  signal: AbortSignal,
): Promise<number> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (let here = 0; ;) {
    signal.throwIfAborted();
    const { bytesRead } = await onDisk(handle.read(buffer, 0, CHUNK_BYTES, here));
    if (bytesRead === 0) return here;
    verifier.update(buffer.subarray(0, bytesRead));
    here += bytesRead;
    onBytes(here);
  }
}

/** A reader finds the old text or the new one, after a crash too. Rejects with StoreFailedError. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const fresh = `${path}.new`;
  // A killed process can leave this file, and another user can lay a link here: a new file follows neither.
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
