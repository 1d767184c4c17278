/** The file of a kept blob: opened only when it is what the ledger says. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { DigestMismatchError, StoreFailedError } from '../../domain/errors.ts';
import type { StoredBlob } from '../../domain/ports/package-store.ts';
import { Proof } from '../../domain/proof.ts';
import type { Entry } from './ledger.ts';

const PROVED_AT_ONCE = 1024 * 1024;

/**
 * Marks the file as used at `usedAt`, for the order after a restart. Rejects with the error of the file system, or with
 * DigestMismatchError when the file is another one than the entry's; what is not proved yet is read whole before.
 */
export async function openStoredFile(path: string, entry: Entry, usedAt: Date): Promise<StoredBlob> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const stats = await handle.stat();
    if (!stats.isFile() || stats.size !== entry.size) {
      throw new DigestMismatchError(`${String(entry.size)} bytes`, `${String(stats.size)} bytes`);
    }
    if (!entry.proved) await prove(handle, entry);
    entry.proved = true;
    await handle.utimes(usedAt, entry.storedAt);
  } catch (error) {
    await handle.close();
    throw error;
  }
  return {
    size: entry.size,
    storedAt: entry.storedAt,
    read: (into, offset) => read(handle, into, offset, entry.size),
    close: () => handle.close(),
  };
}

async function read(handle: FileHandle, into: Uint8Array, offset: number, size: number): Promise<number> {
  const length = Math.min(into.byteLength, size - offset);
  if (length <= 0) return 0;
  const { bytesRead } = await handle.read(into, 0, length, offset).catch((cause: unknown) => {
    throw new StoreFailedError({ cause });
  });
  if (bytesRead === 0) throw new StoreFailedError({ cause: new Error('file has become shorter') });
  return bytesRead;
}

async function prove(handle: FileHandle, entry: Entry): Promise<void> {
  const proof = new Proof(entry);
  const buffer = new Uint8Array(PROVED_AT_ONCE);
  for (let offset = 0; offset < entry.size;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.byteLength, offset);
    if (bytesRead === 0) break;
    proof.update(buffer.subarray(0, bytesRead));
    offset += bytesRead;
  }
  proof.conclude();
}
