/** One reader of a kept blob. */
import type { StoredBlob } from '../../domain/ports/package-store.ts';
import { BlockFile } from './block-file.ts';
import { FileReading } from './file-reading.ts';
import type { OpenFile } from './open-files.ts';

export interface StoredFileEvents {
  /** The file is not any more what it was when it was opened. */
  onDamage(): void;
  /** Neither this reader nor the system has anything more to do with the file. */
  onClosed(): void;
}

export function readStoredFile({ entry, content }: OpenFile, events: StoredFileEvents): StoredBlob {
  const { size, storedAt } = entry;
  if (!(content instanceof BlockFile)) {
    const close = (): Promise<void> => {
      events.onClosed();
      return Promise.resolve();
    };
    return { size, storedAt, read: (offset) => Promise.resolve(content.subarray(offset)), close };
  }
  const reading = new FileReading(content);
  return {
    size,
    storedAt,
    read: async (offset) => {
      if (offset >= size) return new Uint8Array();
      try {
        return await reading.read(offset, size);
      } catch (error) {
        events.onDamage();
        throw error;
      }
    },
    close: async () => {
      await reading.close();
      events.onClosed();
    },
  };
}
