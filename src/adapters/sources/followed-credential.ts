/** The account or the token of a mirror, in files that change while the service runs, such as those of a mounted Secret. */
import { readFileSync, statSync, unwatchFile, watchFile } from 'node:fs';
import { ANONYMOUS, basic, type Credential, Secret } from '../../domain/credential.ts';

export type CredentialFiles =
  { readonly username: string; readonly password: string; readonly token?: never } | { readonly token: string };

/** The credential of a mirror. */
export interface Access {
  readonly credential: Credential;
  /** Sent without a challenge, instead of a credential. */
  readonly token?: Secret;
}

const INTERVAL_MS = 2000;
const MAX_BYTES = 64 * 1024;

export class FollowedCredential {
  readonly #files: CredentialFiles;
  readonly #onChange: (error?: Error) => void;
  #seen: string;
  #current: Access;

  /** `onChange` gets each change, with the error if the files cannot be used; then the previous credential stays. */
  constructor(files: CredentialFiles, onChange: (error?: Error) => void) {
    this.#files = files;
    this.#onChange = onChange;
    const texts = read(files);
    this.#seen = JSON.stringify(texts);
    this.#current = accessOf(texts);
  }

  /** The same object until the files change. */
  get current(): Access {
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
    return pathsOf(this.#files);
  }

  readonly #look = (): void => {
    try {
      const texts = read(this.#files);
      const seen = JSON.stringify(texts);
      if (seen === this.#seen) return;
      this.#seen = seen;
      this.#current = accessOf(texts);
      this.#onChange();
    } catch (error) {
      this.#onChange(error instanceof Error ? error : new Error('unknown error'));
    }
  };
}

function pathsOf(files: CredentialFiles): string[] {
  return files.token === undefined ? [files.username, files.password] : [files.token];
}

/** One text is a token, two are an account. @throws Error that names the file, without its content */
function read(files: CredentialFiles): string[] {
  const texts = pathsOf(files).map(readText);
  // RFC 6750, section 2.1. Other characters would end the header, or cause a refusal without a clear reason.
  if (files.token !== undefined && !/^[\w.~+/-]+=*$/.test(texts[0] ?? ''))
    throw new Error(`registry.mirrors: ${files.token}: holds no token (RFC 6750)`);
  return texts;
}

function accessOf([first = '', password]: readonly string[]): Access {
  return password === undefined
    ? { credential: ANONYMOUS, token: new Secret(first) }
    : { credential: basic(first, password) };
}

function readText(path: string): string {
  let text: string;
  try {
    const found = statSync(path);
    // A pipe has no end, so it is refused.
    if (!found.isFile() || found.size > MAX_BYTES) throw new Error('is not a file of at most 64 KiB');
    text = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'cannot be read';
    throw new Error(`registry.mirrors: ${path}: ${why}`, { cause });
  }
  if (text === '') throw new Error(`registry.mirrors: ${path}: is empty`);
  return text;
}
