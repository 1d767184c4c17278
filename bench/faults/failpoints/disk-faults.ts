/** Preloaded into the service: makes calls to the file system fail in the cache, with the probabilities in a file. */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

/** The probability of each failure. The file is JSON and may change at any moment. */
export type DiskFaults = Partial<Record<'open' | 'read' | 'write' | 'full' | 'close' | 'rename' | 'readOnly', number>>;

const RULES = process.env['DISK_FAULTS'] ?? '';
const CACHE = process.env['DISK_FAULTS_BELOW'] ?? '';
const REFRESH_MS = 20;
/** O_ACCMODE, for which Node has no constant. */
const ACCESS_MODE = 3;

let rules: DiskFaults = {};
setInterval(() => {
  try {
    rules = JSON.parse(fs.readFileSync(RULES, 'utf8')) as DiskFaults;
  } catch {
    // The bench is writing the file.
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
/** Opening a file for writing fails. `mount -o remount,ro` does not work here, because the lock file is open for writing. */
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
// The arrival thread writes large blobs with this function. On the main thread only the log uses it.
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
// close(2) releases the descriptor also if it fails.
patch(patched, 'closeSync', (original) => (...args) => {
  original(...args);
  const error = fault('close', 'EIO');
  if (error !== undefined) throw error;
});
syncBuiltinESMExports();
