/** Preloaded into the service: lets its calls to the file system fail, in the cache, as often as a file says. */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

/** How often, of 1; the file is JSON and may change at any moment. */
export type DiskFaults = Partial<Record<'open' | 'read' | 'write' | 'full' | 'close' | 'rename' | 'readOnly', number>>;

const RULES = process.env['DISK_FAULTS'] ?? '';
const CACHE = process.env['DISK_FAULTS_BELOW'] ?? '';
const REFRESH_MS = 20;
/** O_ACCMODE, which Node does not name. */
const ACCESS_MODE = 3;

let rules: DiskFaults = {};
setInterval(() => {
  try {
    rules = JSON.parse(fs.readFileSync(RULES, 'utf8')) as DiskFaults;
  } catch {
    // Just being written.
  }
}, REFRESH_MS).unref();

function fault(kind: keyof DiskFaults, code: string): Error | undefined {
  if (Math.random() >= (rules[kind] ?? 0)) return undefined;
  return Object.assign(new Error(`${code}: injected`), { code, syscall: kind });
}

function isOurs(path: unknown): boolean {
  return typeof path === 'string' && path.startsWith(CACHE);
}

type Callback = (error: Error | null, ...rest: unknown[]) => void;
type Call = (...args: unknown[]) => unknown;
const patched = fs as unknown as Record<string, Call>;

function patch(target: Record<string, Call>, name: string, make: (original: Call) => Call): void {
  const original = target[name];
  if (original === undefined) throw new Error(`no ${name}`);
  // promisify() reads these properties.
  target[name] = Object.defineProperties(make(original), Object.getOwnPropertyDescriptors(original));
}

const calledBack =
  (kind: keyof DiskFaults, code: string, concerns: (first: unknown) => boolean) =>
  (original: Call): Call =>
  (...args) => {
    const error = concerns(args[0]) ? fault(kind, code) : undefined;
    if (error === undefined) return original(...args);
    process.nextTick(args.at(-1) as Callback, error);
    return undefined;
  };

patch(patched, 'open', calledBack('open', 'EMFILE', isOurs));
/** A process that holds a file open for writing, as a lock is, keeps `mount -o remount,ro` from a disk; an error does not. */
function readOnly([path, flags]: readonly unknown[]): Error | undefined {
  const isWrite = typeof flags === 'string' ? /[wa+]/.test(flags) : (Number(flags) & ACCESS_MODE) !== 0;
  return isOurs(path) && isWrite ? fault('readOnly', 'EROFS') : undefined;
}
patch(patched, 'open', (original) => (...args) => {
  const error = readOnly(args);
  if (error === undefined) return original(...args);
  process.nextTick(args.at(-1) as Callback, error);
  return undefined;
});
patch(fs.promises as unknown as Record<string, Call>, 'open', (original) => (...args) => {
  const error = readOnly(args);
  return error === undefined ? original(...args) : Promise.reject(error);
});
patch(patched, 'rmSync', (original) => (...args) => {
  const error = isOurs(args[0]) ? fault('readOnly', 'EROFS') : undefined;
  if (error !== undefined) throw error;
  return original(...args);
});
patch(
  patched,
  'read',
  calledBack('read', 'EIO', () => true),
);
patch(patched, 'renameSync', (original) => (...args) => {
  const error = isOurs(args[0]) ? (fault('rename', 'EIO') ?? fault('readOnly', 'EROFS')) : undefined;
  if (error !== undefined) throw error;
  return original(...args);
});
// The function with which the thread of large arrivals writes; on the main thread, the log is written with it.
patch(patched, 'writeSync', (original) => (...args) => {
  const error = isMainThread ? undefined : (fault('write', 'EIO') ?? fault('full', 'ENOSPC'));
  if (error !== undefined) throw error;
  return original(...args);
});
patch(patched, 'write', (original) => (...args) => {
  const error = fault('write', 'EIO') ?? fault('full', 'ENOSPC');
  if (error === undefined) return original(...args);
  process.nextTick(args.at(-1) as Callback, error);
  return undefined;
});
// The descriptor is gone also when this fails.
patch(patched, 'closeSync', (original) => (...args) => {
  original(...args);
  const error = fault('close', 'EIO');
  if (error !== undefined) throw error;
});
syncBuiltinESMExports();
