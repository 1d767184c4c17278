/** One reader of a kept blob. */
import { StoreFailedError } from '../../domain/errors.ts';
import type { StoredBlob } from '../../domain/ports/package-store.ts';
import { type OpenFile, readAt } from './open-files.ts';

export interface StoredFileEvents {
  /** The file is not any more what it was when it was opened. */
  onDamage(): void;
  /** Neither this reader nor the system has anything more to do with the file. */
  onClosed(): void;
}

export function readStoredFile({ entry, content }: OpenFile, events: StoredFileEvents): StoredBlob {
  const { size, storedAt } = entry;
  const pending = new Set<Promise<number>>();
  const readFile = async (fd: number, into: Uint8Array, length: number, offset: number): Promise<number> => {
    const reading = readAt(fd, into, length, offset);
    pending.add(reading);
    try {
      const bytesRead = await reading;
      if (bytesRead === 0) throw new Error('file has become shorter');
      return bytesRead;
    } catch (cause) {
      events.onDamage();
      throw new StoreFailedError({ cause });
    } finally {
      pending.delete(reading);
    }
  };
  return {
    size,
    storedAt,
    read: (into, offset) => {
      const length = Math.min(into.byteLength, size - offset);
      if (length <= 0) return Promise.resolve(0);
      if ('fd' in content) return readFile(content.fd, into, length, offset);
      into.set(content.subarray(offset, offset + length));
      return Promise.resolve(length);
    },
    close: async () => {
      // The descriptor may be another file's as soon as it is closed.
      await Promise.allSettled(pending);
      events.onClosed();
    },
  };
}
