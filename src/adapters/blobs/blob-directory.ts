/** The one content-addressed directory: `blobs/sha256` of the cache and of an OCI image layout. */
import { mkdirSync, renameSync, rmSync, type Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestHex, isDigest } from '../../domain/descriptor.ts';

export interface BlobFile {
  readonly path: string;
  readonly digest: Digest;
  readonly stats: Stats;
}

/** Enough to keep the four threads of libuv's pool busy, few enough to need no thought about memory. */
const STAT_CONCURRENCY = 64;

export class BlobDirectory {
  readonly path: string;
  /** The mode of the folder where it has to be made again. */
  readonly #mode: number;

  constructor(path: string, mode = 0o777) {
    this.path = path;
    this.#mode = mode;
  }

  pathOf(digest: Digest): string {
    return join(this.path, digestHex(digest));
  }

  /**
   * Regular files that a digest names, and the paths of all else, which is never served; both in no order. Rejects with the
   * error of the file system.
   */
  async list(): Promise<{ blobs: BlobFile[]; strangers: string[] }> {
    const names = await readdir(this.path);
    const blobs: BlobFile[] = [];
    const strangers: string[] = [];
    for (let start = 0; start < names.length; start += STAT_CONCURRENCY) {
      const batch = names.slice(start, start + STAT_CONCURRENCY).map(async (name) => {
        const path = join(this.path, name);
        const digest = `sha256:${name}`;
        const stats = await lstat(path).catch(() => undefined);
        // It left meanwhile.
        if (stats === undefined) return;
        if (stats.isFile() && isDigest(digest)) blobs.push({ path, digest, stats });
        else strangers.push(path);
      });
      await Promise.all(batch);
    }
    return { blobs, strangers };
  }

  /** Names a verified file by its digest, in this very turn. Another file with that name is replaced. */
  move(path: string, digest: Digest): void {
    try {
      renameSync(path, this.pathOf(digest));
    } catch {
      rmSync(this.pathOf(digest), { recursive: true, force: true });
      mkdirSync(this.path, { recursive: true, mode: this.#mode });
      renameSync(path, this.pathOf(digest));
    }
  }
}
