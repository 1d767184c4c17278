/** The paths in the cache directory: blobs as in an OCI image layout, and arriving files. */
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Digest, digestHex } from '../../domain/descriptor.ts';
import { BlobDirectory } from '../blobs/blob-directory.ts';
import { checkPrivate, makePrivate } from './private-directories.ts';

/** Private, because packages run as root, so no other user may write here. */
const DIRECTORY = { recursive: true, mode: 0o700 } as const;

/**
 * ```text
 * <directory>/v1/                       another format would have another version, which does not read these files
 *   blobs/sha256/4f5e…                  cached blobs, each named by its digest
 *   ingest/4f5e….7c0b8d54-…             arriving blobs; removed after a restart
 *   signatures/4f5e…                    the claims of signed images; the store does not use this folder
 *   clean                               the times of verification at a clean stop; missing while a process runs, or if it crashed
 * ```
 */
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

  /** Creates the folders, which must belong only to the service. @throws Error with one sentence, or that of the file system. */
  async prepare(): Promise<void> {
    await makePrivate(this.directory, this.#own);
  }

  /** Checks the existing folders as `prepare` does. @throws as `prepare` rejects */
  check(): void {
    checkPrivate(this.directory, this.#own);
  }

  get #own(): readonly string[] {
    return [this.root, dirname(this.blobs.path), this.blobs.path, this.ingest];
  }

  /** Creates missing folders, at the start or after they were removed. */
  async make(): Promise<void> {
    await mkdir(this.blobs.path, DIRECTORY);
    await mkdir(this.ingest, DIRECTORY);
  }

  /** Returns a unique path, so that each download removes only its own file. */
  newIngest(digest: Digest): string {
    return join(this.ingest, `${digestHex(digest)}.${randomUUID()}`);
  }
}
