/** A process whose processor time and memory are read from /proc, including its children. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';

export interface ProcessOptions {
  /** Whether the whole output is kept, not only its end. */
  readonly keepsOutput?: boolean;
  readonly environment?: Readonly<Record<string, string>>;
}

/** USER_HZ, which is 100 on every Linux that this bench supports (proc(5), /proc/pid/stat). */
const TICKS_PER_SECOND = 100;
const KEPT_OUTPUT = 4000;

export class MeasuredProcess {
  readonly #child: ChildProcess;
  readonly #name: string;
  #output = '';

  constructor(path: string, args: readonly string[], { keepsOutput = false, environment }: ProcessOptions) {
    this.#name = path;
    this.#child = spawn(path, args, {
      env: { ...withoutProxies(process.env), ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#output += chunk.toString();
        if (!keepsOutput) this.#output = this.#output.slice(-KEPT_OUTPUT);
      });
    }
    this.#child.once('error', (error) => (this.#output += error.message));
  }

  get output(): string {
    return this.#output;
  }

  get hasEnded(): boolean {
    return this.#child.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  onExit(listener: () => void): void {
    this.#child.once('exit', listener);
  }

  /** @throws Error with the end of the output, if the process has ended */
  assertRuns(): void {
    if (this.hasEnded) throw new Error(`${this.#name} has ended: ${this.#output.slice(-KEPT_OUTPUT)}`);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  cpuSeconds(): number {
    return sum(this.#family().map((pid) => cpuTicks(pid) / TICKS_PER_SECOND));
  }

  /** The processor time of the main thread, without the threads of V8, with a finer resolution than ticks (/proc/pid/schedstat). */
  mainThreadMs(): number {
    this.assertRuns();
    return Number(readFileSync(`/proc/${String(this.pid)}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
  }

  residentBytes(): number {
    return sum(this.#family().map((pid) => statusBytes(pid, 'VmRSS')));
  }

  /** The peak resident memory since `resetPeak`, or since the start. */
  peakBytes(): number {
    return sum(this.#family().map((pid) => statusBytes(pid, 'VmHWM')));
  }

  resetPeak(): void {
    // proc(5): 5 resets the peak resident set size to what is resident now.
    for (const pid of this.#family()) writeFileSync(`/proc/${String(pid)}/clear_refs`, '5');
  }

  /** Ends the process by SIGTERM, and by SIGKILL if that takes too long. */
  async end(): Promise<void> {
    if (this.hasEnded) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    const impatience = setTimeout(() => this.#child.kill('SIGKILL'), 5000);
    await exited;
    clearTimeout(impatience);
  }

  /** Kills the process and its children, which do not notice the end of their parent. */
  kill(): void {
    if (this.hasEnded) return;
    for (const pid of this.#family().toReversed()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone in between.
      }
    }
  }

  #family(): number[] {
    this.assertRuns();
    return [this.pid, ...childrenOf(this.pid)];
  }
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

/** Fields 14 and 15, utime and stime. The second field is a name and may contain spaces. */
function cpuTicks(pid: number): number {
  const text = readFileSync(`/proc/${String(pid)}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

function statusBytes(pid: number, name: 'VmRSS' | 'VmHWM'): number {
  const text = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
  return 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

function withoutProxies(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !/_proxy$/i.test(name)));
}
