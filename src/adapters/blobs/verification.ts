/** Verifies all blobs of directories, one after the other, and reports each deviation. */
import type { Digest } from '../../domain/descriptor.ts';
import { DigestMismatchError, errnoOf } from '../../domain/errors.ts';
import type { BlobFile } from './blob-directory.ts';
import { closeNow, openBlob, verifyFile } from './blob-file.ts';

export interface Finding {
  readonly kind: 'damaged' | 'unreadable' | 'missing' | 'stranger';
  /** A path, or the digest of a missing blob. */
  readonly what: string;
  readonly why: string;
}

export interface Verification {
  readonly blobs: number;
  readonly bytes: number;
  readonly findings: readonly Finding[];
}

export interface ListedDirectory {
  readonly blobs: readonly BlobFile[];
  /** The paths of files that do not have the name of a digest. */
  readonly strangers: readonly string[];
  /** Checks the references between blobs, for a directory whose index lists the required blobs. */
  readonly checkReferences?:
    ((sound: ReadonlyMap<Digest, BlobFile>, unsound: ReadonlySet<Digest>) => Promise<readonly Finding[]>) | undefined;
}

/** Calls `onPiece` for each piece that was read, and `onFinding` for each finding at once. Rejects as they do. */
export async function verifyDirectories(
  directories: readonly ListedDirectory[],
  onPiece: (bytes: number) => void,
  onFinding: (finding: Finding) => void,
): Promise<Verification> {
  const findings: Finding[] = [];
  const report = (finding: Finding): void => {
    findings.push(finding);
    onFinding(finding);
  };
  let count = 0;
  let bytes = 0;
  for (const { blobs, strangers, checkReferences } of directories) {
    for (const what of strangers) report({ kind: 'stranger', what, why: 'its name is not a digest' });
    const sound = new Map<Digest, BlobFile>();
    const unsound = new Set<Digest>();
    for (const blob of blobs) {
      const verdict = await checkBlob(blob, onPiece);
      if (verdict.kind === 'gone') continue;
      count++;
      bytes += blob.stats.size;
      if (verdict.kind === 'sound') sound.set(blob.digest, blob);
      else {
        unsound.add(blob.digest);
        report({ ...verdict, what: blob.path });
      }
    }
    for (const fault of (await checkReferences?.(sound, unsound)) ?? []) report(fault);
  }
  return { blobs: count, bytes, findings };
}

/** `gone`: the file was removed after the listing, for example evicted by a running service. */
type Verdict =
  | { readonly kind: 'sound' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'damaged' | 'unreadable'; readonly why: string };

/** Calls `onPiece` for each piece that was read. Rejects as `onPiece` does. */
export async function checkBlob(
  { path, digest }: Pick<BlobFile, 'path' | 'digest'>,
  onPiece: (bytes: number) => void,
): Promise<Verdict> {
  let fd: number | undefined;
  try {
    // The size of the open file, which may have replaced the listed one.
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
