/** Where things lie in the cache directory: an OCI image layout's blobs, and beside them what is still arriving. */
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Digest, digestHex } from '../../domain/descriptor.ts';
import { BlobDirectory } from '../blobs/blob-directory.ts';
import { checkPrivate, makePrivate } from './private-directories.ts';

/**
 * ```text
 * <directory>/v1/                       another format would be another version: none ever reads the other's files
 *   blobs/sha256/4f5e…                  cached blobs, each named by its own digest
 *   ingest/4f5e….7c0b8d54-…             blobs on their way in; worthless after a restart
 *   signatures/4f5e…                    what verified an image that is signed; not the store's own, which leaves it alone
 *   clean                               what was verified when, up to the end of the last process; not there while one runs or when it died
 * ```
 */
/** Private: packages run as root, so no other user may write here. */
const DIRECTORY = { recursive: true, mode: 0o700 } as const;

export class Layout {
  readonly directory: string;
  /** The directory with all files of the store. */
  readonly root: string;
  readonly blobs: BlobDirectory;
  readonly ingest: string;
  readonly cleanMarker: string;

  constructor(directory: string) {
    this.directory = directory;
    this.root = join(directory, 'v1');
    this.blobs = new BlobDirectory(join(this.root, 'blobs', 'sha256'), DIRECTORY.mode);
    this.ingest = join(this.root, 'ingest');
    this.cleanMarker = join(this.root, 'clean');
  }

  /** Makes the folders, which must be the service's alone. @throws Error with one sentence, or that of the file system. */
  async prepare(): Promise<void> {
    await makePrivate(this.directory, this.#own);
  }

  /** Judges the folders that are there as `prepare` does. @throws as `prepare` rejects */
  check(): void {
    checkPrivate(this.directory, this.#own);
  }

  get #own(): readonly string[] {
    return [this.root, dirname(this.blobs.path), this.blobs.path, this.ingest];
  }

  /** Folders that are not there, at the start or because they have been removed. */
  async make(): Promise<void> {
    await mkdir(this.blobs.path, DIRECTORY);
    await mkdir(this.ingest, DIRECTORY);
  }

  /** A unique name, so that each download removes its own file and no other. */
  newIngest(digest: Digest): string {
    return join(this.ingest, `${digestHex(digest)}.${randomUUID()}`);
  }
}
