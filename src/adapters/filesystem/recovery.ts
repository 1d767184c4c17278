/** A start is a scan: what lies in the directory is what is kept, in the order of its last use. */
import type { Stats } from 'node:fs';
import { lstat, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../domain/digest.ts';
import { StoreFailedError } from '../../domain/errors.ts';
import type { Layout } from './layout.ts';
import type { Ledger } from './ledger.ts';

/** Enough to keep the four threads of libuv's pool busy, few enough to need no thought about memory. */
const STATS_AT_ONCE = 64;

/**
 * Enters all blobs into an empty ledger. Proved are those that the last clean end has called so, unless a file has another
 * length since or was touched after it: after an unclean end none. Resolves with when the last of them was used, in
 * milliseconds. @throws StoreFailedError
 */
export async function scan(layout: Layout, ledger: Ledger): Promise<number> {
  try {
    await layout.prepare();
    await rm(layout.ingest, { recursive: true, force: true });
    await layout.make();
    const proved = await takeCleanMarker(layout);
    const found = await listBlobs(layout);
    found.sort((a, b) => a.stats.mtimeMs - b.stats.mtimeMs);
    for (const { digest, stats } of found) {
      const known = stats.ctimeMs <= proved.atMs ? proved.blobs.get(digest) : undefined;
      const verifiedMs = known?.size === stats.size ? known.verifiedMs : undefined;
      ledger.add(digest, stats.size, stats.birthtime, verifiedMs).usedMs = stats.mtimeMs;
    }
    return found.at(-1)?.stats.mtimeMs ?? 0;
  } catch (cause) {
    throw new StoreFailedError({ cause });
  }
}

/** Says to the next start which blobs need no second proof. */
export async function leaveCleanMarker(layout: Layout, ledger: Ledger): Promise<void> {
  const lines = ledger
    .list()
    .flatMap(({ digest, size, verifiedMs }) =>
      verifiedMs === undefined ? [] : [`${digest} ${String(size)} ${String(verifiedMs)}\n`],
    );
  await writeFile(layout.cleanMarker, lines.join(''), { mode: 0o600 });
}

interface Proved {
  readonly blobs: ReadonlyMap<string, { readonly size: number; readonly verifiedMs: number }>;
  /** When the process ended. */
  readonly atMs: number;
}

async function takeCleanMarker(layout: Layout): Promise<Proved> {
  try {
    const text = await readFile(layout.cleanMarker, 'utf8');
    const { mtimeMs } = await lstat(layout.cleanMarker);
    const lines = text.split('\n').map((line) => line.split(' '));
    // The first version did not say when: by its end at the latest, which is what the file's time says.
    const blobs = lines.map(
      ([digest = '', size, verifiedMs]) =>
        [digest, { size: Number(size), verifiedMs: Number(verifiedMs) || mtimeMs }] as const,
    );
    return { blobs: new Map(blobs), atMs: mtimeMs };
  } catch {
    return { blobs: new Map(), atMs: 0 };
  } finally {
    await rm(layout.cleanMarker, { recursive: true, force: true });
  }
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
