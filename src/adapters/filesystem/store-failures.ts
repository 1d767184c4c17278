/** Counts blobs that could not be stored, by reason, because a full or broken disk fails no request but must be visible. */
import { statfs } from 'node:fs/promises';
import { STORE_FAILURES, type StoreFailure } from '../../domain/ports/package-store.ts';
import { errnoOf, StoreFailedError, StoreFullError } from '../../domain/errors.ts';

export class StoreFailures {
  readonly #directory: string;
  readonly #counts: Partial<Record<StoreFailure, number>> = {};

  /** `directory` is on the volume of the store. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  get counts(): Readonly<Partial<Record<StoreFailure, number>>> {
    return { ...this.#counts };
  }

  /** Counts the error with which storing a blob ended; ignores errors of its source. Never rejects. */
  async count(error: unknown): Promise<void> {
    if (!(error instanceof StoreFailedError)) return;
    const reason = await this.#reasonOf(error.cause);
    this.#counts[reason] = (this.#counts[reason] ?? 0) + 1;
  }

  async #reasonOf(cause: unknown): Promise<StoreFailure> {
    if (cause instanceof StoreFailedError) return this.#reasonOf(cause.cause);
    if (cause instanceof StoreFullError) return 'pinned';
    const code = errnoOf(cause);
    if (code === 'ENOSPC' && (await this.#hasNoInode())) return 'inodes';
    return STORE_FAILURES.find((known) => known === code) ?? 'other';
  }

  /** Distinguishes missing inodes from missing blocks, both ENOSPC. A file system with dynamic inodes reports a total of 0. */
  async #hasNoInode(): Promise<boolean> {
    try {
      const { files, ffree } = await statfs(this.#directory);
      return files > 0 && ffree === 0;
    } catch {
      return false;
    }
  }
}
