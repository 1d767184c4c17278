/** An OCI image layout: its files, its JSON, its errors, and the recognition of an archive of one (image-spec, image-layout.md). */
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { asObject, type Descriptor, type Digest, isObject } from '../../domain/descriptor.ts';
import { UpstreamUnavailableError } from '../../domain/errors.ts';
import { BlobDirectory } from '../blobs/blob-directory.ts';
import { closeNow, onDisk, openBlob, READ_FLAGS, readWhole, replaceFile } from '../blobs/blob-file.ts';
import { closeSync, openSync, readSync } from 'node:fs';

/** The largest index.json, with about 400 000 images. */
export const MAX_JSON_BYTES = 64 * 1024 * 1024;

export function blobsOf(directory: string): BlobDirectory {
  return new BlobDirectory(join(directory, 'blobs', 'sha256'));
}

/**
 * Resolves with the JSON object of a file in the directory, with or without a byte order mark. The file may be a link within
 * the directory, as in a volume of a ConfigMap. Rejects if it is not an object, if the link leads out of the directory, or
 * as `openBlob`.
 */
export async function readObject(directory: string, name: string): Promise<Record<string, unknown>> {
  const path = await realpath(join(directory, name));
  if (!path.startsWith(join(await realpath(directory), '/'))) throw new Error('link leads out of the directory');
  const { fd, size } = await openBlob(path);
  try {
    if (size > MAX_JSON_BYTES) throw new Error('larger than 64 MiB');
    return asObject(JSON.parse(new TextDecoder().decode(await readWhole(fd, size))), name);
  } finally {
    closeNow(fd);
  }
}

const NAME = 'index.json';

export class LayoutIndex {
  readonly #directory: string;
  /** The images for the next write. */
  readonly #fresh = new Map<Digest, Descriptor>();
  #writing: Promise<void> = Promise.resolve();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Resolves when the image is on the disk, with all images that were added meanwhile. Rejects with StoreFailedError. */
  add(image: Descriptor): Promise<void> {
    this.#fresh.set(image.digest, image);
    this.#writing = this.#writing.catch(() => undefined).then(() => this.#write());
    return this.#writing;
  }

  async #write(): Promise<void> {
    const fresh = [...this.#fresh.values()];
    if (fresh.length === 0) return;
    const index = await onDisk(this.#read());
    const listed = new Set(
      index.manifests.map((entry) => (isObject(entry) ? asObject(entry, 'entry')['digest'] : entry)),
    );
    const added = fresh.filter(({ digest }) => !listed.has(digest));
    if (added.length > 0) {
      const text = JSON.stringify({ ...index, manifests: [...index.manifests, ...added] });
      await onDisk(replaceFile(join(this.#directory, NAME), text));
    }
    for (const { digest } of fresh) this.#fresh.delete(digest);
  }

  async #read(): Promise<{ manifests: unknown[] }> {
    const index = await readObject(this.#directory, NAME);
    return { ...index, manifests: (index['manifests'] ?? []) as unknown[] };
  }
}

/** Follows the name of an archive in a message. */
export const NOT_UNPACKED = 'is an archive: "mirror --from ARCHIVE --output DIRECTORY" makes a directory of it';

/** The offset of the magic of POSIX tar, which Docker and Podman write. */
const TAR_MAGIC_AT = 257;
/** The magics of gzip and zstd, for compressed archives. */
const COMPRESSED = /^(?:\x1f\x8b|\x28\xb5\x2f\xfd)/;

/** Returns whether a file begins like an archive; false if it is unreadable. */
export function isArchive(path: string): boolean {
  const head = Buffer.alloc(512);
  try {
    const file = openSync(path, READ_FLAGS);
    try {
      readSync(file, head);
    } finally {
      closeSync(file);
    }
  } catch {
    return false;
  }
  return head.toString('latin1', TAR_MAGIC_AT, TAR_MAGIC_AT + 5) === 'ustar' || isCompressed(head);
}

/** Returns whether the first bytes are those of a compressed file. */
export function isCompressed(head: Buffer): boolean {
  return COMPRESSED.test(head.toString('latin1', 0, 4));
}

/** Passes the bytes on. A failure of the disk with images becomes a failure of the upstream. */
export async function* readable(chunks: AsyncIterable<Uint8Array>, digest: Digest): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks;
  } catch (cause) {
    throw unreadable(digest, cause);
  }
}

export function unreadable(digest: Digest, cause: unknown): UpstreamUnavailableError {
  const reason = cause instanceof Error ? cause.message : 'unknown error';
  return new UpstreamUnavailableError('images cannot be read', { cause: new Error(`${digest}: ${reason}`) });
}
