/** A start is a scan: what lies in the directory is what is kept, in the order of its last use. */
import type { Stats } from 'node:fs';
import { lstat, mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../domain/digest.ts';
import { StoreFailedError } from '../../domain/errors.ts';
import type { Layout } from './layout.ts';
import type { Ledger } from './ledger.ts';

/** Enough to keep the four threads of libuv's pool busy, few enough to need no thought about memory. */
const STATS_AT_ONCE = 64;

/** Private: packages run as root, and nobody else has business here. */
const DIRECTORY_MODE = 0o700;

/**
 * Enters all blobs into an empty ledger. After an unclean stop none of them counts as proved. Resolves with when the last
 * of them was used, in milliseconds. @throws StoreFailedError
 */
export async function scan(layout: Layout, ledger: Ledger): Promise<number> {
  try {
    await mkdir(layout.blobs, { recursive: true, mode: DIRECTORY_MODE });
    await rm(layout.ingest, { recursive: true, force: true });
    await mkdir(layout.ingest, { mode: DIRECTORY_MODE });
    const clean = await takeCleanMarker(layout);
    const found = await listBlobs(layout);
    found.sort((a, b) => a.stats.atimeMs - b.stats.atimeMs);
    for (const { digest, stats } of found) ledger.add(digest, stats.size, stats.mtime, clean);
    return found.at(-1)?.stats.atimeMs ?? 0;
  } catch (cause) {
    throw new StoreFailedError({ cause });
  }
}

/** Says to the next start that no write was cut off. */
export async function leaveCleanMarker(layout: Layout): Promise<void> {
  const marker = await open(layout.cleanMarker, 'w', 0o600);
  await marker.close();
}

async function takeCleanMarker(layout: Layout): Promise<boolean> {
  const clean = await lstat(layout.cleanMarker).then(
    () => true,
    () => false,
  );
  await rm(layout.cleanMarker, { recursive: true, force: true });
  return clean;
}

/** Files named by a digest; whatever else lies there is a stranger and stays as it is. */
async function listBlobs(layout: Layout): Promise<{ digest: Digest; stats: Stats }[]> {
  const names = await readdir(layout.blobs);
  const blobs: { digest: Digest; stats: Stats }[] = [];
  for (let start = 0; start < names.length; start += STATS_AT_ONCE) {
    const batch = names.slice(start, start + STATS_AT_ONCE).map(async (name) => {
      const digest = layout.digestOfName(name);
      const stats = digest && (await lstat(join(layout.blobs, name)).catch(() => undefined));
      if (digest !== undefined && stats?.isFile()) blobs.push({ digest, stats });
    });
    await Promise.all(batch);
  }
  return blobs;
}
