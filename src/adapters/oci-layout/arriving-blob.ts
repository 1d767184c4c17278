/** A blob on its way into a layout, as a part file that outlives the process: the next try goes on behind its last byte. */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import type { Descriptor } from '../../domain/descriptor.ts';
import { DigestMismatchError } from '../../domain/errors.ts';
import type { FetchFrom } from '../../domain/ports/image-layout.ts';
import { Proof } from '../../domain/proof.ts';
import { onDisk, show } from './layout-files.ts';

/** Not through a link that somebody has laid there. */
const FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;

/**
 * Resolves with the bytes that were fetched, once the file lies proved and on the disk at `place`. Rejects with
 * DigestMismatchError when they were the wrong ones, and then nothing is left of them.
 */
export async function receive(
  blob: Descriptor,
  { part, place }: { readonly part: string; readonly place: string },
  fetch: FetchFrom,
  onBytes: (here: number) => void,
): Promise<number> {
  const handle = await onDisk(open(part, FLAGS, 0o644));
  let begun = 0;
  try {
    const proof = new Proof(blob);
    begun = await readAgain(handle, blob, proof, onBytes);
    if (begun < blob.size) await append(handle, begun, await fetch(begun), proof, onBytes);
    proof.conclude();
    // A disk that is full, or gone, may say so only now.
    await onDisk(handle.sync());
    await onDisk(rename(part, place));
    return blob.size - begun;
  } catch (error) {
    if (!(error instanceof DigestMismatchError)) throw error;
    await onDisk(rm(part, { force: true }));
    onBytes(0);
    // What lay here may have been wrong, which is no fault of who has sent the rest.
    if (begun === 0) throw error;
  } finally {
    await handle.close();
  }
  return receive(blob, { part, place }, fetch, onBytes);
}

/** Resolves with how much an earlier try has left; nothing when it is more than the blob has. */
async function readAgain(
  handle: FileHandle,
  blob: Descriptor,
  proof: Proof,
  onBytes: (here: number) => void,
): Promise<number> {
  const { size } = await onDisk(handle.stat());
  if (size <= blob.size) return show(handle, proof, onBytes);
  await onDisk(handle.truncate(0));
  return 0;
}

async function append(
  handle: FileHandle,
  start: number,
  chunks: AsyncIterable<Uint8Array>,
  proof: Proof,
  onBytes: (here: number) => void,
): Promise<void> {
  let here = start;
  for await (const chunk of chunks) {
    proof.update(chunk);
    for (let done = 0; done < chunk.byteLength;) {
      const { bytesWritten } = await onDisk(handle.write(chunk, done, chunk.byteLength - done, here + done));
      done += bytesWritten;
    }
    here += chunk.byteLength;
    onBytes(here);
  }
}
