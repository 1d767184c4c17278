/** Reads and changes the directory of a store past the store. */
import {
  cpSync,
  fstatSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  type Stats,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { digestHex } from '../../src/domain/descriptor.ts';
import { type Damage, type ModelFile, sizeAfter } from './store-model.ts';

const MAX_COPIES = 10;

export class StoreDisk {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** The names of cached files. */
  get names(): string[] {
    return readdirSync(this.#blobs);
  }

  /** The bytes of all files, including open files that were removed. */
  get bytes(): number {
    const ingest = join(this.directory, 'v1/ingest');
    const named = [this.#blobs, ingest].flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)));
    const files = named.map((path) => lstatSync(path)).filter((stats) => stats.isFile());
    const blocks = new Map([...files, ...this.#unlinked()].map((stats) => [stats.ino, stats.blocks]));
    return blocks.values().reduce((sum, count) => sum + count * 512, 0);
  }

  /** The inode of the file with its name; undefined when there is none. */
  inodeOf(file: ModelFile): number | undefined {
    return lstatSync(this.#pathOf(file), { throwIfNoEntry: false })?.ino;
  }

  /** Whether the name exists, also as a link or a directory. */
  has(file: ModelFile): boolean {
    return this.inodeOf(file) !== undefined;
  }

  /** Copies the directory; repeats the copy if a thread removes a file after the listing. */
  copy(directory: string): StoreDisk {
    for (let tries = 1; ; tries++) {
      try {
        cpSync(this.directory, directory, { recursive: true, verbatimSymlinks: true });
        return new StoreDisk(directory);
      } catch (error) {
        if (tries === MAX_COPIES || !(error instanceof Error && 'code' in error && error.code === 'ENOENT'))
          throw error;
        rmSync(directory, { recursive: true, force: true });
      }
    }
  }

  /** Damages a file as a user does, or in place as bit rot does, which changes no times. */
  harm(file: ModelFile, damage: Damage): void {
    const path = this.#pathOf(file);
    const { atimeMs, mtimeMs } = statSync(path);
    if (damage === 'flip') {
      const at = file.size >> 1;
      writeFileSync(path, file.blob.bytes.with(at, (file.blob.bytes[at] ?? 0) ^ 1), { flag: 'r+' });
    } else if (damage === 'truncate' || damage === 'extend') {
      truncateSync(path, sizeAfter({ ...file, damage }));
    } else {
      rmSync(path);
      if (damage === 'link') symlinkSync('/etc/hostname', path);
      if (damage === 'directory') mkdirSync(path);
      return;
    }
    // A Date has no fraction of a millisecond, which the order of two files cached within one millisecond needs.
    utimesSync(path, atimeMs / 1000, mtimeMs / 1000);
  }

  /** Sets the access times of the files so that they were used in this order. */
  setOrder(files: readonly ModelFile[]): void {
    const longAgo = 1_700_000_000;
    for (const [index, file] of files.entries()) {
      if (file.damage !== 'delete') lutimesSync(this.#pathOf(file), longAgo + index, longAgo + index);
    }
  }

  get #blobs(): string {
    return join(this.directory, 'v1/blobs/sha256');
  }

  #pathOf({ blob }: ModelFile): string {
    return join(this.#blobs, digestHex(blob.descriptor.digest));
  }

  #unlinked(): Stats[] {
    return readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        const target = readlinkSync(`/proc/self/fd/${fd}`);
        return target.startsWith(this.directory) && target.endsWith(' (deleted)') ? [fstatSync(Number(fd))] : [];
      } catch {
        // The file was closed after the listing.
        return [];
      }
    });
  }
}
