/** Owns all processes and folders of a run, and removes them together. */
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

  /** Creates a folder on the same volume as the others, so that files can be linked between them. */
  async folder(name: string): Promise<string> {
    const path = await mkdtemp(join(this.directory, `${name}-`));
    this.#folders.push(path);
    return path;
  }

  /** Aborted at the end of the run; for programs that run to their end. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  spawn(path: string, args: readonly string[], options: ProcessOptions = {}): MeasuredProcess {
    const started = new MeasuredProcess(path, args, options);
    this.#processes.add(started);
    started.onExit(() => this.#processes.delete(started));
    return started;
  }

  /** Ends all processes and empties all folders, between two scenarios or two steps of one. */
  async clear(): Promise<void> {
    await Promise.all([...this.#processes].map((one) => one.end()));
    for (const path of this.#folders.splice(0)) await rm(path, { recursive: true, force: true, maxRetries: 3 });
  }

  /** Releases everything synchronously, for a process that is about to exit. */
  close(): void {
    this.#closing.abort();
    for (const one of this.#processes) one.kill();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 3 });
  }
}
