/** One reader of a kept blob. */
import { EvictedError } from '../../domain/errors.ts';
import type { StoredBlob } from '../../domain/ports/package-store.ts';
import { BlockFile } from './block-file.ts';
import { FileReading } from './file-reading.ts';
import type { OpenFile } from './open-files.ts';
import type { PinningReader } from './slow-readers.ts';

export interface StoredFileEvents {
  /** The file is not any more what it was when it was opened. */
  onDamage(): void;
  /** Neither this reader nor the system has anything more to do with the file. */
  onClosed(): void;
}

export function readStoredFile({ entry, content }: OpenFile, events: StoredFileEvents): StoredBlob & PinningReader {
  const { size, storedAt } = entry;
  if (!(content instanceof BlockFile)) {
    const close = (): Promise<void> => {
      events.onClosed();
      return Promise.resolve();
    };
    const read = (offset: number): Promise<Uint8Array> => Promise.resolve(content.subarray(offset));
    // Not worth taking away: the room of a file that fits into memory.
    return { size, storedAt, read, close, isSlow: false, revoke: () => Promise.resolve() };
  }
  const reading = new FileReading(content);
  let revoking: Promise<void> | undefined;
  return {
    size,
    storedAt,
    get isSlow() {
      return reading.isSlow;
    },
    revoke: () =>
      (revoking ??= reading.detach().then(() => {
        events.onClosed();
      })),
    read: async (offset) => {
      if (offset >= size) return new Uint8Array();
      if (revoking !== undefined) throw new EvictedError();
      try {
        return await reading.read(offset, size);
      } catch (error) {
        events.onDamage();
        throw error;
      }
    },
    close: async () => {
      await reading.close();
      if (revoking === undefined) events.onClosed();
    },
  };
}
