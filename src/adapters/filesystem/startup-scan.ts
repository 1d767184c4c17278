/** The scan at a start: adds the blobs of the directory to the ledger in the order of their last use. */
import { lstat, open, rm } from 'node:fs/promises';
import { StoreFailedError } from '../../domain/errors.ts';
import type { BlobFile } from '../blobs/blob-directory.ts';
import { closeNow, openBlob, READ_FLAGS, readWhole, replaceFile, syncDirectory } from '../blobs/blob-file.ts';
import type { Layout } from './layout.ts';
import type { Entry, Ledger } from './ledger.ts';
import { forEachInTurns, sortInTurns } from './work-in-turns.ts';

/** Enough to keep the four threads of libuv's pool busy, and few enough to take little memory. */
const SYNC_CONCURRENCY = 64;
/** The time limit. The kernel writes back within half a minute, so at a stop there is rarely more than that to sync. */
const SYNC_MS = 5000;
/** A million blobs. */
const MAX_MARKER_BYTES = 128 * 1024 * 1024;

/**
 * Adds all blobs to an empty ledger. A blob counts as verified if the marker of a clean stop lists it with the same size and
 * its file has not changed since; after an unclean stop there is no marker. Resolves with the time of the last use, in
 * milliseconds. @throws StoreFailedError
 */
export async function scan(layout: Layout, ledger: Ledger): Promise<number> {
  try {
    await layout.prepare();
    await rm(layout.ingest, { recursive: true, force: true });
    await layout.make();
    const verified = await takeCleanMarker(layout);
    const found = await sortInTurns((await layout.blobs.list()).blobs, usedMsOf);
    await forEachInTurns(found, (blob) => {
      const { digest, stats } = blob;
      const known = stats.ctimeMs <= verified.atMs ? verified.blobs.get(digest) : undefined;
      const verifiedMs = known?.size === stats.size ? known.verifiedMs : undefined;
      const entry = ledger.add(digest, stats.size, stats.birthtime, verifiedMs);
      entry.usedMs = usedMsOf(blob);
      entry.isSynced = verifiedMs !== undefined;
    });
    const last = found.at(-1);
    return last === undefined ? 0 : usedMsOf(last);
  } catch (cause) {
    throw new StoreFailedError({ cause });
  }
}

/** The time of the last use; 0 if the volume has a time that no Date can hold. */
function usedMsOf({ stats }: BlobFile): number {
  return Number.isNaN(stats.mtime.getTime()) ? 0 : stats.mtimeMs;
}

/**
 * Writes the marker of a clean stop, which lists the blobs that the next start need not verify. It lists only synced blobs,
 * because after a power loss the marker could exist without their bytes. Downloads are not synced before this.
 */
export async function leaveCleanMarker(layout: Layout, ledger: Ledger): Promise<void> {
  const verified = ledger.list().filter(({ verifiedMs }) => verifiedMs !== undefined);
  const deadline = performance.now() + SYNC_MS;
  const unsynced = verified.filter(({ isSynced }) => !isSynced);
  for (let start = 0; start < unsynced.length && performance.now() < deadline; start += SYNC_CONCURRENCY) {
    await Promise.all(unsynced.slice(start, start + SYNC_CONCURRENCY).map((entry) => sync(layout, entry)));
  }
  await syncDirectory(layout.blobs.path);
  const lines = verified
    .filter(({ isSynced }) => isSynced)
    .map(({ digest, size, verifiedMs }) => `${digest} ${String(size)} ${String(verifiedMs)}\n`);
  await replaceFile(layout.cleanMarker, lines.join(''), 0o600);
}

/** Syncs the file of an entry; if this fails, the next start verifies it again. */
async function sync(layout: Layout, entry: Entry): Promise<void> {
  try {
    const file = await open(layout.blobs.pathOf(entry.digest), READ_FLAGS);
    await file.datasync().finally(() => file.close());
    entry.isSynced = true;
  } catch {
    // See above.
  }
}

interface Verified {
  readonly blobs: ReadonlyMap<string, { readonly size: number; readonly verifiedMs: number }>;
  /** The time of the stop. */
  readonly atMs: number;
}

/** Rejects for a link, a pipe or a file that no service has written, which could be read without end. */
async function readMarker(path: string): Promise<{ readonly text: string; readonly mtimeMs: number }> {
  const { fd, size } = await openBlob(path);
  try {
    if (size > MAX_MARKER_BYTES) throw new Error('marker is too large');
    return { text: (await readWhole(fd, size)).toString(), mtimeMs: (await lstat(path)).mtimeMs };
  } finally {
    closeNow(fd);
  }
}

async function takeCleanMarker(layout: Layout): Promise<Verified> {
  try {
    const { text, mtimeMs } = await readMarker(layout.cleanMarker);
    const blobs = new Map<string, { size: number; verifiedMs: number }>();
    await forEachInTurns(text.split('\n'), (line) => {
      const [digest = '', size, verifiedMs] = line.split(' ');
      // The first version of the marker has no times; then the time of the marker itself is used.
      blobs.set(digest, { size: Number(size), verifiedMs: Number(verifiedMs) || mtimeMs });
    });
    return { blobs, atMs: mtimeMs };
  } catch {
    return { blobs: new Map(), atMs: 0 };
  } finally {
    await rm(layout.cleanMarker, { recursive: true, force: true });
  }
}
