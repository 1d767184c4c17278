/** The CA of the registry agent of this machine, in a file that comes, changes and goes while the service runs. */
import { readFile, stat } from 'node:fs/promises';
import { errnoOf } from '../../domain/errors.ts';
import { parseCertificates } from '../../domain/upstream.ts';

export interface AgentCaOptions {
  readonly file: string;
  /** Hears of each state of the file that cannot be used; such a file counts as absent. */
  readonly onUnusable: (reason: string) => void;
}

/** A CA has a few kilobytes. */
const MAX_BYTES = 1024 * 1024;

export class AgentCa {
  readonly #options: AgentCaOptions;
  /** Size, time of change and inode of the file, or the code of its error, when it was read last. */
  #state = 'ENOENT';
  #certificates: readonly string[] | undefined;

  constructor(options: AgentCaOptions) {
    this.#options = options;
  }

  /** The same array for as long as the certificates are the same; undefined where the file is absent, empty or unusable. */
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
      // A pipe would never end.
      if (!found.isFile() || found.size > MAX_BYTES) throw new Error('is not a file of certificates');
      const certificates = parseCertificates(await readFile(file, 'utf8'));
      return certificates.length === 0 ? undefined : certificates;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') onUnusable(error instanceof Error ? error.message : 'unknown error');
      return undefined;
    }
  }
}
