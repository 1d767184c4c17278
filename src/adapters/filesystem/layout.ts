/** Where things lie in the cache directory: an OCI image layout's blobs, and beside them what is still arriving. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { type Digest, digestHex, parseDigest } from '../../domain/digest.ts';

/**
 * ```text
 * <directory>/v1/                       another format would be another version: none ever reads the other's files
 *   blobs/sha256/4f5e…                  kept blobs, each named by its own digest
 *   ingest/4f5e….7c0b8d54-…             blobs on their way in; worthless after a restart
 *   clean                               only there while no process has the store open and none died with it open
 * ```
 */
export class Layout {
  readonly blobs: string;
  readonly ingest: string;
  readonly cleanMarker: string;

  constructor(directory: string) {
    const root = join(directory, 'v1');
    this.blobs = join(root, 'blobs', 'sha256');
    this.ingest = join(root, 'ingest');
    this.cleanMarker = join(root, 'clean');
  }

  blob(digest: Digest): string {
    return join(this.blobs, digestHex(digest));
  }

  /** A name that nobody else has, so that each fill removes its own file and no other. */
  newIngest(digest: Digest): string {
    return join(this.ingest, `${digestHex(digest)}.${randomUUID()}`);
  }

  /** The digest that a file below `blobs` is named by; undefined for a stranger. */
  digestOfName(name: string): Digest | undefined {
    try {
      return parseDigest(`sha256:${name}`);
    } catch {
      return undefined;
    }
  }
}
