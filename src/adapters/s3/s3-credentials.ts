/** The signing keys for a bucket, from a directory that changes while the service runs. */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Secret } from '../../domain/credential.ts';
import { UpstreamDeniedError } from '../../domain/errors.ts';

export interface SigningKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: Secret;
  readonly sessionToken?: Secret | undefined;
}

export interface SigningKeySource {
  /**
   * Rejects with UpstreamDeniedError or another Upstream…Error if there are no keys. Never uses the keys of another
   * identity.
   */
  current(signal: AbortSignal): Promise<SigningKeys>;
  /** Reports that the server refused these keys, so that the next call reads them again. */
  refused(): void;
}

/** The interval of the reads, because each request would cost three accesses to the disk. */
const INTERVAL_MS = 1000;
const MAX_BYTES = 16 * 1024;
/** The keys of the Secret; the last one is optional. */
const FILES = ['accessKeyID', 'secretAccessKey', 'sessionToken'] as const;

export class FileSigningKeys implements SigningKeySource {
  readonly #directory: string;
  readonly #now: () => number;
  #state = '';
  #keys: SigningKeys | undefined;
  #lookedAt = -Infinity;
  #looking: Promise<void> | undefined;

  /** `now` is a monotonic clock in milliseconds. */
  constructor(directory: string, now: () => number = () => performance.now()) {
    this.#directory = directory;
    this.#now = now;
  }

  async current(): Promise<SigningKeys> {
    if (this.#now() - this.#lookedAt >= INTERVAL_MS) {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined;
      });
    }
    await this.#looking;
    if (this.#keys !== undefined) return this.#keys;
    throw new UpstreamDeniedError({ cause: new Error(`${this.#directory} has no keys of the bucket`) });
  }

  refused(): void {
    this.#lookedAt = -Infinity;
  }

  /** If the keys are unreadable, the previous ones stay, because a Secret is replaced in several steps. */
  async #look(): Promise<void> {
    const state = await this.#stateOf();
    try {
      if (state === this.#state) return;
      const [accessKeyId = '', secretAccessKey = '', sessionToken = ''] = await Promise.all(
        FILES.map((name) => this.#read(name)),
      );
      // The files changed during the read, so they may be of two pairs.
      if (state !== (await this.#stateOf())) return;
      this.#state = state;
      if (accessKeyId === '' || secretAccessKey === '') return;
      this.#keys = {
        accessKeyId,
        secretAccessKey: new Secret(secretAccessKey),
        sessionToken: sessionToken === '' ? undefined : new Secret(sessionToken),
      };
    } finally {
      this.#lookedAt = this.#now();
    }
  }

  async #stateOf(): Promise<string> {
    const states = FILES.map(async (name) => {
      const found = await stat(join(this.#directory, name), { bigint: true }).catch(() => undefined);
      return found === undefined ? '' : [found.size, found.mtimeNs, found.ino].join(' ');
    });
    return (await Promise.all(states)).join();
  }

  async #read(name: (typeof FILES)[number]): Promise<string> {
    const path = join(this.#directory, name);
    const found = await stat(path).catch(() => undefined);
    // A pipe has no end, so it is refused.
    if (found?.isFile() !== true || found.size > MAX_BYTES) return '';
    return (await readFile(path, 'utf8').catch(() => '')).trim();
  }
}
