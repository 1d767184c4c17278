/** Everything that a run leaves on the machine while it lasts, so that all of it can be taken away at once. */
import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MeasuredProcess, type ProcessOptions } from './measured-process.ts';

export class Workspace {
  readonly directory: string;
  readonly #processes = new Set<MeasuredProcess>();
  readonly #folders: string[] = [];
  readonly #closing = new AbortController();

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(): Promise<Workspace> {
    return new Workspace(await mkdtemp(join(tmpdir(), 'bench-')));
  }

  /** A new folder, on the volume of all others: files can be linked between them. */
  async folder(name: string): Promise<string> {
    const path = await mkdtemp(join(this.directory, `${name}-`));
    this.#folders.push(path);
    return path;
  }

  /** For programs that are run to their end. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  spawn(path: string, args: readonly string[], options: ProcessOptions = {}): MeasuredProcess {
    const started = new MeasuredProcess(path, args, options);
    this.#processes.add(started);
    started.onExit(() => this.#processes.delete(started));
    return started;
  }

  /** Ends all that runs and empties all folders: between one scenario, or one step of it, and the next. */
  async clear(): Promise<void> {
    await Promise.all([...this.#processes].map((one) => one.end()));
    for (const path of this.#folders.splice(0)) await rm(path, { recursive: true, force: true, maxRetries: 3 });
  }

  /** Synchronous, for a process that is about to exit. */
  close(): void {
    this.#closing.abort();
    for (const one of this.#processes) one.kill();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 3 });
  }
}
