/** The scan at a start: the blobs of the directory are entered in the order of their last use. */
import { lstat, open, readFile, rm } from 'node:fs/promises';
import { StoreFailedError } from '../../domain/errors.ts';
import { READ_FLAGS, replaceFile, syncDirectory } from '../blobs/blob-file.ts';
import type { Layout } from './layout.ts';
import type { Entry, Ledger } from './ledger.ts';
import { forEachInTurns, sortInTurns } from './work-in-turns.ts';

/** Enough to keep the four threads of libuv's pool busy, few enough to need no thought about memory. */
const SYNC_CONCURRENCY = 64;
/** The kernel writes back by itself within half a minute, so at a stop there is seldom more than that to sync. */
const SYNC_MS = 5000;

/**
 * Enters all blobs into an empty ledger. A blob counts as verified if the marker of a clean stop lists it with the same size
 * and its file has not changed since; after an unclean stop there is no marker. Resolves with when the last of them was
 * used, in milliseconds. @throws StoreFailedError
 */
export async function scan(layout: Layout, ledger: Ledger): Promise<number> {
  try {
    await layout.prepare();
    await rm(layout.ingest, { recursive: true, force: true });
    await layout.make();
    const verified = await takeCleanMarker(layout);
    const found = await sortInTurns((await layout.blobs.list()).blobs, ({ stats }) => stats.mtimeMs);
    await forEachInTurns(found, ({ digest, stats }) => {
      const known = stats.ctimeMs <= verified.atMs ? verified.blobs.get(digest) : undefined;
      const verifiedMs = known?.size === stats.size ? known.verifiedMs : undefined;
      const entry = ledger.add(digest, stats.size, stats.birthtime, verifiedMs);
      entry.usedMs = stats.mtimeMs;
      entry.isSynced = verifiedMs !== undefined;
    });
    return found.at(-1)?.stats.mtimeMs ?? 0;
  } catch (cause) {
    throw new StoreFailedError({ cause });
  }
}

/**
 * Says to the next start which blobs need no second verification. Only those whose bytes are on the disk are named: the
 * marker must not outlive them in a power loss. Downloads are not synced, so this is the first time for each.
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

/** A file that cannot be synced is verified again by the next start. */
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
  /** When the process ended. */
  readonly atMs: number;
}

async function takeCleanMarker(layout: Layout): Promise<Verified> {
  try {
    const text = await readFile(layout.cleanMarker, 'utf8');
    const { mtimeMs } = await lstat(layout.cleanMarker);
    const blobs = new Map<string, { size: number; verifiedMs: number }>();
    await forEachInTurns(text.split('\n'), (line) => {
      const [digest = '', size, verifiedMs] = line.split(' ');
      // The first version did not say when: by its end at the latest, which is what the file's time says.
      blobs.set(digest, { size: Number(size), verifiedMs: Number(verifiedMs) || mtimeMs });
    });
    return { blobs, atMs: mtimeMs };
  } catch {
    return { blobs: new Map(), atMs: 0 };
  } finally {
    await rm(layout.cleanMarker, { recursive: true, force: true });
  }
}
