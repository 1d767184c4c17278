/** A memory limit of the kernel as for a container; it needs the right to make control groups. */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const V2 = '/sys/fs/cgroup';
const V1 = '/sys/fs/cgroup/memory';

interface Files {
  readonly limits: readonly string[];
  /** The files with the peak memory of the processes, and of their sockets if the kernel counts these separately. */
  readonly peaks: readonly string[];
  /** The file with the number of processes that the kernel has killed. */
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

  /** Undefined if this user cannot make one. */
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

  /** A prefix for a command that runs it in the group, in the same process. */
  get wrapper(): string[] {
    return ['sh', '-euc', 'echo $$ >"$0"; exec "$@"', join(this.#path, 'cgroup.procs')];
  }

  /** The peak memory, including that of sockets. */
  peakBytes(): number {
    return this.#files.peaks.reduce((sum, name) => sum + Number(this.#read(name)), 0);
  }

  /** Processes that the kernel has killed for their memory. */
  kills(): number {
    return Number(/^oom_kill (\d+)$/m.exec(this.#read(this.#files.kills))?.[1] ?? 0);
  }

  /** Removes the group after its processes have ended. */
  remove(): void {
    rmdirSync(this.#path);
  }

  #read(name: string): string {
    return readFileSync(join(this.#path, name), 'utf8');
  }
}
