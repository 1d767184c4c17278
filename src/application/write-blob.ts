/** Writes a blob into a layout. */
import type { Descriptor } from '../domain/descriptor.ts';
import { DigestMismatchError } from '../domain/errors.ts';
import type { BlobWriter, ImageLayout } from '../domain/ports/image-layout.ts';
import type { FetchFrom } from './resumed-download.ts';

/**
 * Fetches the missing bytes of a blob, for one caller at a time. `onBytes` gets the number of its bytes in the layout, which
 * decreases if they were wrong. Rejects as a BlobWriter does, with the reason of `signal`, or with the error of `fetch` and its
 * bytes. `signal` ends the verification of existing bytes; `fetch` has its own signal.
 */
export async function writeBlob(
  layout: ImageLayout,
  blob: Descriptor,
  fetch: FetchFrom,
  signal: AbortSignal,
  onBytes: (here: number) => void = () => undefined,
): Promise<void> {
  const writer = layout.writer(blob);
  try {
    for await (const here of writer.resume()) {
      onBytes(here);
      signal.throwIfAborted();
    }
    const isResumed = writer.offset > 0;
    const isDone = await complete(writer, blob, fetch, onBytes).catch((error: unknown) => {
      // The bytes of an earlier attempt may be wrong; then the sender of the rest is not at fault.
      if (isResumed && error instanceof DigestMismatchError) return false;
      throw error;
    });
    if (!isDone) await complete(writer, blob, fetch, onBytes);
  } finally {
    writer.close();
  }
}

async function complete(
  writer: BlobWriter,
  blob: Descriptor,
  fetch: FetchFrom,
  onBytes: (here: number) => void,
): Promise<true> {
  try {
    if (writer.offset < blob.size) {
      for await (const chunk of await fetch(writer.offset)) {
        await writer.write(chunk);
        onBytes(writer.offset);
      }
    }
    await writer.commit();
    return true;
  } finally {
    onBytes(writer.offset);
  }
}
