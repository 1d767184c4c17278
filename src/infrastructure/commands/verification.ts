/** Goes through folders of blobs, one after the other, and finds what is not as it should be. */
import { checkBlob } from '../../adapters/blobs/blob-check.ts';
import type { BlobFile } from '../../adapters/blobs/blob-directory.ts';
import { findReferenceFaults } from '../../adapters/oci-layout/reference-check.ts';
import type { Digest } from '../../domain/digest.ts';
import { type BlobFolder, listBlobs } from './blob-folder.ts';
import type { Terminal } from '../../adapters/cli/command.ts';
import { Progress } from '../../adapters/cli/progress.ts';

export interface Finding {
  readonly kind: 'damaged' | 'unreadable' | 'missing' | 'stranger';
  /** A path, or the digest of what is not there. */
  readonly what: string;
  readonly why: string;
}

export interface Verification {
  readonly blobs: number;
  readonly bytes: number;
  readonly findings: readonly Finding[];
}

/** Says each finding when it is found. @throws CommandFailure, or the reason of `interrupted` */
export async function verifyFolders(
  folders: readonly BlobFolder[],
  terminal: Terminal,
  say: (finding: Finding) => void,
): Promise<Verification> {
  const lists = await Promise.all(folders.map(async (folder) => ({ folder, ...(await listBlobs(folder.blobs)) })));
  const progress = new Progress(terminal, { title: 'verify', unit: 'bytes' });
  progress.total = lists.flatMap(({ blobs }) => blobs).reduce((sum, { stats }) => sum + stats.size, 0);
  const onPiece = (bytes: number): void => {
    terminal.interrupted.throwIfAborted();
    progress.advance(bytes);
  };
  const findings: Finding[] = [];
  const report = (finding: Finding): void => {
    findings.push(finding);
    progress.clear();
    say(finding);
  };
  let count = 0;
  let bytes = 0;
  try {
    for (const { folder, blobs, strangers } of lists) {
      for (const what of strangers) report({ kind: 'stranger', what, why: 'no digest names it' });
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
      if (folder.kind === 'cache') continue;
      for (const fault of await findReferenceFaults(folder.directory, sound, unsound)) report(fault);
    }
  } finally {
    progress.end();
  }
  return { blobs: count, bytes, findings };
}
