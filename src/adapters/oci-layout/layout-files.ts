/** Where things lie in an OCI image layout, and how its JSON files are read (image-spec, image-layout.md). */
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { asObject } from '../../domain/descriptor.ts';
import { BlobDirectory } from '../blobs/blob-directory.ts';
import { closeNow, openBlob, readWhole } from '../blobs/blob-file.ts';

/** The largest index.json: some 400 000 images. */
const MAX_JSON_BYTES = 64 * 1024 * 1024;

export function blobsOf(directory: string): BlobDirectory {
  return new BlobDirectory(join(directory, 'blobs', 'sha256'));
}

/**
 * The JSON object in a file of the directory itself, with or without a byte order mark. The file may be a link within the
 * directory, as in a volume of a ConfigMap. Rejects when it is no object or the link leads out, or as `openBlob`.
 */
export async function readObject(directory: string, name: string): Promise<Record<string, unknown>> {
  const path = await realpath(join(directory, name));
  if (!path.startsWith(join(await realpath(directory), '/'))) throw new Error('link out of the directory');
  const { fd, size } = await openBlob(path);
  try {
    if (size > MAX_JSON_BYTES) throw new Error('larger than 64 MiB');
    return asObject(JSON.parse(new TextDecoder().decode(await readWhole(fd, size))), name);
  } finally {
    closeNow(fd);
  }
}
