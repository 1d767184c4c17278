/** Whether a blob's file is the blob that its name says. */
import { DigestMismatchError } from '../../domain/errors.ts';
import type { BlobFile } from './blob-directory.ts';
import { closeNow, openBlob, verifyFile } from './blob-file.ts';
import { errnoOf } from './disk-error.ts';

/** `gone`: it was removed after it had been listed, as a running service does to make room. */
type Verdict =
  | { readonly kind: 'sound' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'damaged' | 'unreadable'; readonly why: string };

/** `onPiece` hears of each piece that was read. Rejects as it does. */
export async function checkBlob(
  { path, digest }: Pick<BlobFile, 'path' | 'digest'>,
  onPiece: (bytes: number) => void,
): Promise<Verdict> {
  let fd: number | undefined;
  try {
    // The size of the open file, which may have replaced the one that was listed.
    const opened = await openBlob(path);
    ({ fd } = opened);
    await verifyFile(fd, { digest, size: opened.size }, onPiece);
    return { kind: 'sound' };
  } catch (error) {
    if (error instanceof DigestMismatchError) return { kind: 'damaged', why: `holds ${error.found}` };
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return errno === 'ENOENT' ? { kind: 'gone' } : { kind: 'unreadable', why: errno };
  } finally {
    if (fd !== undefined) closeNow(fd);
  }
}
