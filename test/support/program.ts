/** Runs the program as a separate process until it exits or gets a signal. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const MAIN = join(import.meta.dirname, '../../src/infrastructure/main.ts');

export interface Ended {
  /** Null when a signal has killed it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Wraps a command in another one that starts it. */
export type Launcher = (command: readonly string[]) => readonly string[];

export class Program {
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';

  constructor(args: readonly string[], launch: Launcher = (command) => command) {
    const [command = '', ...rest] = launch([process.execPath, MAIN, ...args]);
    this.#child = spawn(command, rest, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdout?.on('data', (chunk: Buffer) => (this.#stdout += chunk.toString()));
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.#stderr += chunk.toString()));
  }

  /** Resolves when standard output matches the pattern. */
  async printed(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.#stdout)) await once(this.#child.stdout ?? this.#child, 'data');
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Types keys on the terminal of the launcher. */
  type(keys: string): void {
    this.#child.stdin?.write(keys);
  }

  async end(): Promise<Ended> {
    const [code] = (await once(this.#child, 'close')) as [number | null];
    return { code, stdout: this.#stdout, stderr: this.#stderr };
  }
}

export function runProgram(...args: string[]): Promise<Ended> {
  return new Program(args).end();
}
