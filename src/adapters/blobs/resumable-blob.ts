/** Writes a blob into a directory of blobs. Its part file survives the process, and the next attempt continues it. */
import { fsync, type Stats } from 'node:fs';
import { lstat, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Descriptor } from '../../domain/descriptor.ts';
import { DigestMismatchError, errnoOf } from '../../domain/errors.ts';
import type { BlobWriter } from '../../domain/ports/image-layout.ts';
import { readThrough, Verifier } from '../../domain/verifier.ts';
import type { BlobDirectory } from './blob-directory.ts';
import { closeNow, onDisk, openBlob, openPart, readAt, syncDirectory, writeAt } from './blob-file.ts';

const syncFile = promisify(fsync);

export class ResumableBlob implements BlobWriter {
  readonly #blobs: BlobDirectory;
  readonly #part: string;
  readonly #blob: Descriptor;
  #verifier: Verifier;
  /** The descriptor of the part file; undefined before it is open. */
  #fd: number | undefined;
  /** Whether the complete blob is stored under its digest already. */
  #isStored = false;

  constructor(blobs: BlobDirectory, part: string, blob: Descriptor) {
    this.#blobs = blobs;
    this.#part = part;
    this.#blob = blob;
    this.#verifier = new Verifier(blob);
  }

  get offset(): number {
    return this.#verifier.bytes;
  }

  async *resume(): AsyncGenerator<number> {
    yield* this.#readStored();
    if (this.#isStored) return;
    try {
      yield* this.#readFile(await this.#open());
    } catch (error) {
      if (!(error instanceof DigestMismatchError)) throw error;
      await this.#reset();
    }
  }

  async write(chunk: Uint8Array): Promise<void> {
    const fd = await this.#open();
    for (let done = 0; done < chunk.byteLength;) {
      done += await onDisk(writeAt(fd, chunk.subarray(done), this.offset + done));
    }
    await this.#verified((verifier) => {
      verifier.update(chunk);
    });
  }

  async commit(): Promise<void> {
    if (this.#isStored) return;
    await this.#verified((verifier) => {
      verifier.verify();
    });
    // A full or failed disk may report its error only at the sync.
    await onDisk(syncFile(await this.#open()));
    await onDisk(
      Promise.resolve().then(() => {
        this.#blobs.move(this.#part, this.#blob.digest);
      }),
    );
    await syncDirectory(this.#blobs.path);
    this.#isStored = true;
  }

  close(): void {
    if (this.#fd !== undefined) closeNow(this.#fd);
    this.#fd = undefined;
  }

  /** Verifies the file with the name of the blob; removes it if it is wrong. */
  async *#readStored(): AsyncGenerator<number> {
    const path = this.#blobs.pathOf(this.#blob.digest);
    const stats = await find(path);
    if (stats === undefined) return;
    if (stats.isFile()) {
      const { fd, size } = await onDisk(openBlob(path));
      this.#verifier = new Verifier({ digest: this.#blob.digest, size });
      try {
        yield* this.#readFile(fd);
        this.#verifier.verify();
        this.#isStored = true;
      } catch (error) {
        if (!(error instanceof DigestMismatchError)) throw error;
      } finally {
        closeNow(fd);
      }
      // The digest is right, so the size in the manifest is wrong.
      if (this.#isStored && size !== this.#blob.size) {
        throw new DigestMismatchError(`${String(this.#blob.size)} bytes`, `${String(size)} bytes`);
      }
      if (this.#isStored) return;
    }
    await onDisk(rm(path, { recursive: true, force: true }));
    this.#verifier = new Verifier(this.#blob);
    yield 0;
  }

  async *#readFile(fd: number): AsyncGenerator<number> {
    let here = 0;
    for await (const piece of readThrough((into, offset) => onDisk(readAt(fd, into, offset)), this.#verifier)) {
      here += piece;
      yield here;
    }
  }

  /** Removes the part file if its bytes are wrong. */
  async #verified(work: (verifier: Verifier) => void): Promise<void> {
    try {
      work(this.#verifier);
    } catch (error) {
      await this.#reset();
      throw error;
    }
  }

  async #reset(): Promise<void> {
    this.close();
    await onDisk(rm(this.#part, { force: true }));
    this.#verifier = new Verifier(this.#blob);
  }

  async #open(): Promise<number> {
    return (this.#fd ??= (await onDisk(openPart(this.#part))).fd);
  }
}

/** The directory entry with this name, which can be a link; undefined if there is none. */
export function find(path: string): Promise<Stats | undefined> {
  return onDisk(
    lstat(path).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }),
  );
}
