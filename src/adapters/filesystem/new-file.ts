/** Makes files and writes into them. */
import { open, write } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { isOutOfSpace } from './disk-error.ts';

/** A descriptor as a number can be closed in the same turn in which its last reader leaves. */
const openFile = promisify(open);

/** A new file under a name that no other file has; its folder is made again when it is gone. */
export async function openNew(path: string): Promise<number> {
  const openOnce = (): Promise<number> => openFile(path, 'wx+', 0o600);
  return openOnce().catch(async (error: unknown) => {
    if (isOutOfSpace(error)) throw error;
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    return openOnce();
  });
}

/** Resolves with how many bytes were written, which may be fewer. */
export function writeAt(fd: number, bytes: Uint8Array, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.byteLength, offset, (error, bytesWritten) => {
      if (error) reject(error);
      else resolve(bytesWritten);
    });
  });
}
