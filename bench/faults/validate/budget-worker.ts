/** The thread of a BudgetWatch. It measures in time even if the main thread of the bench is busy. */
import { lstatSync, readdirSync, readlinkSync, statSync, type Stats } from 'node:fs';
import { join, sep } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { allocated } from '../../../src/adapters/filesystem/ledger.ts';
import type { BudgetSamples, WatchedCache } from './budget-watch.ts';

const INTERVAL_MS = 50;
const SECTOR_BYTES = 512;

const { directory, pid, maxBytes } = workerData as WatchedCache;
const samples = { count: 0, peakBytes: 0, exceeded: 0 };

/** The allocated bytes of all files, including removed files that are still open. */
function sample(): void {
  const first = filesOf();
  const seen = total(first);
  samples.count++;
  if (seen > maxBytes) {
    // Files can appear and disappear during the measurement. Only files that were there before and after it count together.
    const second = filesOf();
    const together = total(new Map([...first].filter(([file]) => second.has(file))));
    if (together > maxBytes) samples.exceeded++;
    samples.peakBytes = Math.max(samples.peakBytes, together);
  } else {
    samples.peakBytes = Math.max(samples.peakBytes, seen);
  }
}

/** Allocated bytes by inode and birth time: a renamed file counts once, and a new file may reuse an inode. */
function filesOf(): Map<string, number> {
  const files = new Map<string, number>();
  const add = (stats: Stats | undefined): void => {
    if (stats?.isFile() !== true) return;
    // ext4 adds a block of its extent tree to a file of more than four pieces, so a fragmented disk shows 4 KiB more a file.
    const bytes = Math.min(stats.blocks * SECTOR_BYTES, allocated(stats.size));
    files.set(`${String(stats.ino)} ${String(stats.birthtimeMs)}`, bytes);
  };
  for (const folder of ['v1/ingest', 'v1/blobs/sha256']) {
    const path = join(directory, folder);
    for (const name of attempt(() => readdirSync(path)) ?? []) add(attempt(() => lstatSync(join(path, name))));
  }
  for (const fd of attempt(() => readdirSync(`/proc/${String(pid)}/fd`)) ?? []) {
    const link = `/proc/${String(pid)}/fd/${fd}`;
    const target = attempt(() => readlinkSync(link)) ?? '';
    if (target.startsWith(directory + sep) && target.endsWith(' (deleted)')) add(attempt(() => statSync(link)));
  }
  return files;
}

function total(files: ReadonlyMap<string, number>): number {
  return files.values().reduce((sum, bytes) => sum + bytes, 0);
}

/** Files and descriptors can disappear at any moment. */
function attempt<Value>(look: () => Value): Value | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

const timer = setInterval(sample, INTERVAL_MS);
parentPort?.once('message', () => {
  clearInterval(timer);
  sample();
  parentPort?.postMessage(samples satisfies BudgetSamples);
  parentPort?.close();
});
