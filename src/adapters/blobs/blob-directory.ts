/** The one content-addressed directory, `blobs/sha256` of the cache and of an OCI image layout, and the check of its files. */
import { mkdirSync, renameSync, rmSync, type Stats } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestHex, isDigest } from '../../domain/descriptor.ts';
import { DigestMismatchError, errnoOf } from '../../domain/errors.ts';
import { closeNow, openBlob, verifyFile } from './blob-file.ts';

export interface BlobFile {
  readonly path: string;
  readonly digest: Digest;
  readonly stats: Stats;
}

/** Enough to keep the four threads of libuv's pool busy, few enough to need no thought about memory. */
const STAT_CONCURRENCY = 64;
/** Names that one call of the kernel and one turn hand over. */
const NAMES_A_PIECE = 2048;

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
    const blobs: BlobFile[] = [];
    const strangers: string[] = [];
    const look = async (name: string): Promise<void> => {
      const path = join(this.path, name);
      const digest = `sha256:${name}`;
      const stats = await lstat(path).catch(() => undefined);
      // It left meanwhile.
      if (stats === undefined) return;
      if (stats.isFile() && isDigest(digest)) blobs.push({ path, digest, stats });
      else strangers.push(path);
    };
    let looks: Promise<void>[] = [];
    // By pieces: readdir hands 100 000 names over in one turn of 30 to 40 ms.
    for await (const { name } of await opendir(this.path, { bufferSize: NAMES_A_PIECE })) {
      if (looks.push(look(name)) < STAT_CONCURRENCY) continue;
      await Promise.all(looks);
      looks = [];
    }
    await Promise.all(looks);
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

/** `gone`: it was removed after it had been listed, as a running service does to make room. */
type Verdict =
  | { readonly kind: 'sound' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'damaged' | 'unreadable'; readonly why: string };

/** `onPiece` hears of each piece that was read. Rejects as it does. */
export async function checkBlob(
  { path, digest }: Pick<BlobFile, 'path' | 'digest'>,
  onPiece: (bytes: number) => void,
): Promise<Verdict> {
  let fd: number | undefined;
  try {
    // The size of the open file, which may have replaced the one that was listed.
    const opened = await openBlob(path);
    ({ fd } = opened);
    await verifyFile(fd, { digest, size: opened.size }, onPiece);
    return { kind: 'sound' };
  } catch (error) {
    if (error instanceof DigestMismatchError) return { kind: 'damaged', why: `holds ${error.found}` };
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return errno === 'ENOENT' ? { kind: 'gone' } : { kind: 'unreadable', why: errno };
  } finally {
    if (fd !== undefined) closeNow(fd);
  }
}
