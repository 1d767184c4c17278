/** A blob on its way into a layout, as a part file that outlives the process: the next try goes on behind its last byte. */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import type { Descriptor } from '../../domain/descriptor.ts';
import { DigestMismatchError } from '../../domain/errors.ts';
import type { FetchFrom } from '../../domain/ports/image-layout.ts';
import { Verifier } from '../../domain/verifier.ts';
import { onDisk, show } from './layout-files.ts';

/** A symbolic link at this path is refused. */
const FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;

/**
 * Resolves once the file lies proved and on the disk at `place`. Rejects with
 * DigestMismatchError when they were the wrong ones, and then nothing is left of them. `signal` ends the check of what lies
 * here already; `fetch` has its own.
 */
export async function receive(
  blob: Descriptor,
  { part, place }: { readonly part: string; readonly place: string },
  fetch: FetchFrom,
  onBytes: (here: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const handle = await onDisk(open(part, FLAGS, 0o644));
  let left = 0;
  try {
    ({ size: left } = await onDisk(handle.stat()));
    const verifier = new Verifier(blob);
    const here = await show(handle, verifier, onBytes, signal);
    if (here < blob.size) await append(handle, here, await fetch(here), verifier, onBytes);
    verifier.verify();
    // A disk that is full, or gone, may say so only now.
    await onDisk(handle.sync());
    await onDisk(rename(part, place));
    return;
  } catch (error) {
    if (!(error instanceof DigestMismatchError)) throw error;
    await onDisk(rm(part));
    onBytes(0);
    // The bytes of an earlier try may have been wrong; the sender of the rest is then not at fault.
    if (left === 0) throw error;
  } finally {
    await handle.close();
  }
  await receive(blob, { part, place }, fetch, onBytes, signal);
}

async function append(
  handle: FileHandle,
  start: number,
  chunks: AsyncIterable<Uint8Array>,
  verifier: Verifier,
  onBytes: (here: number) => void,
): Promise<void> {
  let here = start;
  for await (const chunk of chunks) {
    verifier.update(chunk);
    for (let done = 0; done < chunk.byteLength;) {
      const { bytesWritten } = await onDisk(handle.write(chunk, done, chunk.byteLength - done, here + done));
      done += bytesWritten;
    }
    here += chunk.byteLength;
    onBytes(here);
  }
}
