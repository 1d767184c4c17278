/** A memory limit of the kernel, as a container has it; only where this user may make control groups. */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const V2 = '/sys/fs/cgroup';
const V1 = '/sys/fs/cgroup/memory';

interface Files {
  readonly limits: readonly string[];
  /** The peaks of what the processes take, and of what their sockets take where that is counted apart. */
  readonly peaks: readonly string[];
  /** A line of it says how many processes the kernel has killed. */
  readonly kills: string;
}

const FILES_V2: Files = { limits: ['memory.max'], peaks: ['memory.peak'], kills: 'memory.events' };
const FILES_V1: Files = {
  limits: ['memory.limit_in_bytes', 'memory.kmem.tcp.limit_in_bytes'],
  peaks: ['memory.max_usage_in_bytes', 'memory.kmem.tcp.max_usage_in_bytes'],
  kills: 'memory.oom_control',
};

export class MemoryCgroup {
  readonly #path: string;
  readonly #files: Files;

  private constructor(path: string, files: Files) {
    this.#path = path;
    this.#files = files;
  }

  /** Undefined where there is none to be had. */
  static create(limitBytes: number): MemoryCgroup | undefined {
    const isV2 = existsSync(join(V2, 'cgroup.controllers'));
    const files = isV2 ? FILES_V2 : FILES_V1;
    const path = join(isV2 ? V2 : V1, `test-${randomUUID()}`);
    try {
      mkdirSync(path);
    } catch {
      return undefined;
    }
    const group = new MemoryCgroup(path, files);
    try {
      for (const name of files.limits) writeFileSync(join(path, name), String(limitBytes));
      return group;
    } catch {
      group.remove();
      return undefined;
    }
  }

  /** A command that runs the command behind it in the group, in the same process. */
  get wrapper(): string[] {
    return ['sh', '-euc', 'echo $$ >"$0"; exec "$@"', join(this.#path, 'cgroup.procs')];
  }

  /** The most that was taken at a time, the memory of sockets included. */
  peakBytes(): number {
    return this.#files.peaks.reduce((sum, name) => sum + Number(this.#read(name)), 0);
  }

  /** Processes that the kernel has killed for their memory. */
  kills(): number {
    return Number(/^oom_kill (\d+)$/m.exec(this.#read(this.#files.kills))?.[1] ?? 0);
  }

  /** When its processes have ended. */
  remove(): void {
    rmdirSync(this.#path);
  }

  #read(name: string): string {
    return readFileSync(join(this.#path, name), 'utf8');
  }
}
