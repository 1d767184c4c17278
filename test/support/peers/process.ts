/** Starts and stops a foreign program on loopback, and collects its output. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

export class PeerProcess {
  readonly #child: ChildProcess;
  readonly #name: string;
  #output = '';

  constructor(path: string, args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    this.#name = path;
    this.#child = spawn(path, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    }
  }

  /** All that it has printed until now. */
  get output(): string {
    return this.#output;
  }

  /** Resolves when `check` holds; rejects with its output when it exits or at the deadline. */
  async ready(check: () => Promise<boolean>, timeoutMs = 60_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!(await check().catch(() => false))) {
      if (this.#child.exitCode !== null || performance.now() > deadline) {
        throw new Error(`${this.#name} is not ready: ${this.#output.slice(-2000)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill(signal);
    await exited;
  }
}

/** A free port for programs that do not print the port that they chose. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
