/** The folder `blobs/sha256` of a cache or of an OCI image layout: what lies in it, and whether it is what its name says. */
import { type FileHandle, lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { READ_FLAGS } from '../../adapters/filesystem/layout.ts';
import { type Digest, parseDigest } from '../../domain/digest.ts';
import { DigestMismatchError } from '../../domain/errors.ts';
import { Verifier } from '../../domain/verifier.ts';
import { CommandFailure } from '../../adapters/cli/failures.ts';

/** Large enough that a disk reads ahead, small enough that an interruption is noticed at once. */
const READ_AT_ONCE = 1024 * 1024;

export interface BlobFile {
  readonly path: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** `gone`: it was removed after it had been listed, as a running service does to make room. */
export type Verdict =
  | { readonly kind: 'sound' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'damaged' | 'unreadable'; readonly why: string };

/** In the order of their names. Strangers are no regular files, or not named by a digest. @throws CommandFailure when it cannot be read */
export async function listBlobs(directory: string): Promise<{ blobs: BlobFile[]; strangers: string[] }> {
  const blobs: BlobFile[] = [];
  const strangers: string[] = [];
  for (const name of (await namesIn(directory)).sort()) {
    const path = join(directory, name);
    const stats = await lstat(path).catch(() => undefined);
    // It left meanwhile.
    if (stats === undefined) continue;
    if (stats.isFile() && /^[0-9a-f]{64}$/.test(name)) {
      blobs.push({ path, digest: parseDigest(`sha256:${name}`), size: stats.size });
    } else strangers.push(path);
  }
  return { blobs, strangers };
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
    if (code === 'ENOENT') return [];
    throw new CommandFailure(`${directory}: cannot be read (${code})`, { cause });
  }
}

/** Reads files one after the other, into memory of its own that is used again and again. */
export class BlobProver {
  readonly #buffers = [Buffer.allocUnsafeSlow(READ_AT_ONCE), Buffer.allocUnsafeSlow(READ_AT_ONCE)] as const;
  readonly #interrupted: AbortSignal;
  readonly #onBytes: (bytes: number) => void;

  constructor(interrupted: AbortSignal, onBytes: (bytes: number) => void) {
    this.#interrupted = interrupted;
    this.#onBytes = onBytes;
  }

  /** One at a time. Rejects with the reason of `interrupted`. */
  async prove({ path, digest }: BlobFile): Promise<Verdict> {
    let file: FileHandle | undefined;
    try {
      file = await open(path, READ_FLAGS);
      // The size of the open file, which may have replaced the one that was listed.
      const { size } = await file.stat();
      await this.#read(file, new Verifier({ digest, size }));
      return { kind: 'sound' };
    } catch (error) {
      this.#interrupted.throwIfAborted();
      if (error instanceof DigestMismatchError) return { kind: 'damaged', why: `holds ${error.found}` };
      const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
      if (code === undefined) throw error;
      return code === 'ENOENT' ? { kind: 'gone' } : { kind: 'unreadable', why: code };
    } finally {
      await file?.close();
    }
  }

  /** Hashes one buffer while the other is filled. */
  async #read(file: FileHandle, verifier: Verifier): Promise<void> {
    let [filled, free] = this.#buffers;
    let length = (await file.read(filled, 0, READ_AT_ONCE, 0)).bytesRead;
    for (let position = length; length > 0; position += length) {
      this.#interrupted.throwIfAborted();
      const next = file.read(free, 0, READ_AT_ONCE, position);
      verifier.update(filled.subarray(0, length));
      this.#onBytes(length);
      length = (await next).bytesRead;
      [filled, free] = [free, filled];
    }
    verifier.verify();
  }
}
