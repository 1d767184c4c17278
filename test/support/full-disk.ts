/** Simulates full volumes: writes below a directory fail with a code of the kernel while its rules say so. */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

export interface DiskRules {
  /** Whether a file can grow now. */
  readonly fits: () => boolean;
  /** Bytes that are free. */
  readonly free: () => number;
  readonly code?: 'ENOSPC' | 'EDQUOT' | 'EROFS' | 'EIO';
}

type Call = (...args: unknown[]) => unknown;

const limited = new Map<string, DiskRules>();
const functions = fs as unknown as Record<'write', Call>;
const promises = fs.promises as unknown as Record<'statfs', Call>;
const { write } = functions;
const { statfs } = promises;

/** Applies the rules until the caller calls the returned function. */
export function limitDisk(directory: string, rules: DiskRules): () => void {
  limited.set(directory, rules);
  Object.assign(functions, { write: limitedWrite });
  Object.assign(promises, { statfs: limitedStatfs });
  syncBuiltinESMExports();
  return () => {
    limited.delete(directory);
    if (limited.size > 0) return;
    Object.assign(functions, { write });
    Object.assign(promises, { statfs });
    syncBuiltinESMExports();
  };
}

function limitedWrite(...args: unknown[]): unknown {
  const rules = rulesOf(fs.readlinkSync(`/proc/self/fd/${String(args[0])}`));
  if (rules === undefined || rules.fits()) return write(...args);
  const { code = 'ENOSPC' } = rules;
  process.nextTick(args.at(-1) as (error: Error) => void, Object.assign(new Error(`${code}: injected`), { code }));
  return undefined;
}

function limitedStatfs(...args: unknown[]): unknown {
  const rules = rulesOf(String(args[0]));
  return rules === undefined ? statfs(...args) : Promise.resolve({ bavail: rules.free(), bsize: 1 });
}

function rulesOf(path: string): DiskRules | undefined {
  return limited.entries().find(([directory]) => path.startsWith(`${directory}/`))?.[1];
}
