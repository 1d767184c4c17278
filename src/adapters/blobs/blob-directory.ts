/** The content-addressed directory `blobs/sha256` of the cache and of OCI image layouts. */
import { mkdirSync, renameSync, rmSync, type Stats } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestHex, isDigest } from '../../domain/descriptor.ts';

export interface BlobFile {
  readonly path: string;
  readonly digest: Digest;
  readonly stats: Stats;
}

/** Enough to keep the four threads of libuv's pool busy, and few enough to take little memory. */
const STAT_CONCURRENCY = 64;
/** The number of names that are read at a time, in one turn of the event loop. */
const NAMES_A_PIECE = 2048;

export class BlobDirectory {
  readonly path: string;
  /** The mode of the folder if it must be created again. */
  readonly #mode: number;

  constructor(path: string, mode = 0o777) {
    this.path = path;
    this.#mode = mode;
  }

  pathOf(digest: Digest): string {
    return join(this.path, digestHex(digest));
  }

  /**
   * Resolves with the regular files that have the name of a digest, and with the paths of all other entries, which are never
   * served, in no particular order. Rejects with the error of the file system.
   */
  async list(): Promise<{ blobs: BlobFile[]; strangers: string[] }> {
    const blobs: BlobFile[] = [];
    const strangers: string[] = [];
    const look = async (name: string): Promise<void> => {
      const path = join(this.path, name);
      const digest = `sha256:${name}`;
      const stats = await lstat(path).catch(() => undefined);
      // The entry was removed meanwhile.
      if (stats === undefined) return;
      if (stats.isFile() && isDigest(digest)) blobs.push({ path, digest, stats });
      else strangers.push(path);
    };
    let looks: Promise<void>[] = [];
    // Read in pieces, because readdir returns 100 000 names in one turn of 30 to 40 ms.
    for await (const { name } of await opendir(this.path, { bufferSize: NAMES_A_PIECE })) {
      if (looks.push(look(name)) < STAT_CONCURRENCY) continue;
      await Promise.all(looks);
      looks = [];
    }
    await Promise.all(looks);
    return { blobs, strangers };
  }

  /** Renames a verified file to its digest, synchronously. Replaces a file with that name. */
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
