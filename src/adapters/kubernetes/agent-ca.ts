/** The CA of the registry agent of this machine, in a file that can appear, change and disappear while the service runs. */
import { readFile, stat } from 'node:fs/promises';
import { errnoOf } from '../../domain/errors.ts';
import { parseCertificates } from '../../domain/upstream.ts';

export interface AgentCaOptions {
  readonly file: string;
  /** Called for each state of the file that cannot be used. Such a file counts as absent. */
  readonly onUnusable: (reason: string) => void;
}

/** The size limit; a CA has a few kilobytes. */
const MAX_BYTES = 1024 * 1024;

export class AgentCa {
  readonly #options: AgentCaOptions;
  /** Size, change time and inode of the file at the last read, or the code of its error. */
  #state = 'ENOENT';
  #certificates: readonly string[] | undefined;

  constructor(options: AgentCaOptions) {
    this.#options = options;
  }

  /** Resolves with the same array while the certificates are the same; undefined if the file is absent, empty or unusable. */
  async read(): Promise<readonly string[] | undefined> {
    const state = await this.#look();
    if (state === this.#state) return this.#certificates;
    const certificates = state.startsWith('E') ? undefined : await this.#parse();
    if (state === 'EACCES') this.#options.onUnusable(state);
    this.#state = state;
    if (certificates?.join() !== this.#certificates?.join()) this.#certificates = certificates;
    return this.#certificates;
  }

  async #look(): Promise<string> {
    try {
      const { size, mtimeNs, ino } = await stat(this.#options.file, { bigint: true });
      return [size, mtimeNs, ino].join(' ');
    } catch (error) {
      return errnoOf(error) ?? 'E';
    }
  }

  async #parse(): Promise<readonly string[] | undefined> {
    const { file, onUnusable } = this.#options;
    try {
      const found = await stat(file);
      // Only regular files, because reading a pipe might never end.
      if (!found.isFile() || found.size > MAX_BYTES) throw new Error('is not a file of certificates');
      const certificates = parseCertificates(await readFile(file, 'utf8'));
      return certificates.length === 0 ? undefined : certificates;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') onUnusable(error instanceof Error ? error.message : 'unknown error');
      return undefined;
    }
  }
}
