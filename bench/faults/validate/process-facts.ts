/** Facts about the process of the service, from /proc. */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { sep } from 'node:path';

/** USER_HZ, which is 100 on every Linux that this bench supports. */
const TICKS_PER_SECOND = 100;

export interface Descriptors {
  readonly sockets: number;
  /** Removed files of the cache that are still open. */
  readonly removed: number;
  /** Open files of the cache; the service keeps some of them open. */
  readonly cached: number;
  readonly others: number;
}

export function descriptorsOf(pid: number, cacheDirectory: string): Descriptors {
  const targets = readdirSync(`/proc/${String(pid)}/fd`).map((fd) => targetOf(pid, fd));
  const inCache = targets.filter((target) => target.startsWith(cacheDirectory + sep));
  const removed = inCache.filter((target) => target.endsWith(' (deleted)') && !target.includes('/.lock ')).length;
  const sockets = targets.filter((target) => target.startsWith('socket:')).length;
  // A descriptor that has been closed since has no target.
  const gone = targets.filter((target) => target === '').length;
  const others = targets.length - sockets - inCache.length - gone;
  return { sockets, removed, cached: inCache.length - removed, others };
}

export function residentBytes(pid: number): number {
  return statusBytes(pid, 'VmRSS');
}

function targetOf(pid: number, fd: string): string {
  try {
    return readlinkSync(`/proc/${String(pid)}/fd/${fd}`);
  } catch {
    return '';
  }
}

/** The peak resident memory since `resetPeak`, or since the start. */
export function peakBytes(pid: number): number {
  return statusBytes(pid, 'VmHWM');
}

export function resetPeak(pid: number): void {
  // proc(5): 5 resets the peak resident set size to what is resident now.
  writeFileSync(`/proc/${String(pid)}/clear_refs`, '5');
}

/** The processor time of all threads since the start: fields 14 and 15 of proc(5). The second field is a name and may contain spaces. */
export function cpuSeconds(pid: number): number {
  const text = readFileSync(`/proc/${String(pid)}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function statusBytes(pid: number, name: 'VmRSS' | 'VmHWM'): number {
  const text = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
  return 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
}
