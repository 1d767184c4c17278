/** The user and the password of a mirror, in files that change while the service runs, as those of a mounted Secret do. */
import { readFileSync, statSync, unwatchFile, watchFile } from 'node:fs';
import { basic, type Credential } from '../../domain/credential.ts';

export interface CredentialFiles {
  readonly username: string;
  readonly password: string;
}

const INTERVAL_MS = 2000;
const MAX_BYTES = 64 * 1024;

export class FollowedCredential {
  readonly #files: CredentialFiles;
  readonly #onChange: (error?: Error) => void;
  #seen: string;
  #current: Credential;

  /** `onChange` hears of each change, with the error of files that cannot be used: the credential stays as it was then. */
  constructor(files: CredentialFiles, onChange: (error?: Error) => void) {
    this.#files = files;
    this.#onChange = onChange;
    const [username, password] = read(files);
    this.#seen = JSON.stringify([username, password]);
    this.#current = basic(username, password);
  }

  /** The same object until the files change. */
  get current(): Credential {
    return this.#current;
  }

  start(): Promise<void> {
    for (const file of this.#paths) watchFile(file, { interval: INTERVAL_MS, persistent: false }, this.#look);
    return Promise.resolve();
  }

  stop(): Promise<void> {
    for (const file of this.#paths) unwatchFile(file, this.#look);
    return Promise.resolve();
  }

  get #paths(): string[] {
    return [this.#files.username, this.#files.password];
  }

  readonly #look = (): void => {
    try {
      const [username, password] = read(this.#files);
      const seen = JSON.stringify([username, password]);
      if (seen === this.#seen) return;
      this.#seen = seen;
      this.#current = basic(username, password);
      this.#onChange();
    } catch (error) {
      this.#onChange(error instanceof Error ? error : new Error('unknown error'));
    }
  };
}

/** @throws Error that names the file, and shows nothing of it */
function read({ username, password }: CredentialFiles): [username: string, password: string] {
  return [readText(username), readText(password)];
}

function readText(path: string): string {
  let text: string;
  try {
    const found = statSync(path);
    // A pipe would never end.
    if (!found.isFile() || found.size > MAX_BYTES) throw new Error('is no file of at most 64 KiB');
    text = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'cannot be read';
    throw new Error(`registry.mirrors: ${path}: ${why}`, { cause });
  }
  if (text === '') throw new Error(`registry.mirrors: ${path}: is empty`);
  return text;
}
