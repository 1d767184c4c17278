/** The public keys and root certificates that images must be signed by, in files that change while the service runs. */
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { parsePublicKey, type PublicKey } from './public-key.ts';

/** Each use would cost two looks at the disk. */
const INTERVAL_MS = 1000;
const MAX_BYTES = 1024 * 1024;
/** Each signature is tried with each key, 60 us at a time. */
const MAX_BLOCKS = 32;

export interface TrustedFiles {
  /** PEM of public keys; empty for none. */
  readonly keys: string;
  /** PEM of root certificates; empty for none. */
  readonly roots: string;
}

interface Trust {
  /** Changes with the keys and the roots, and with nothing else. */
  readonly id: string;
  readonly keys: readonly PublicKey[];
  readonly roots: readonly X509Certificate[];
}

interface TrustedKeysOptions {
  readonly files: TrustedFiles;
  /** Hears of each state of the files that cannot be used; the keys from before stay trusted. */
  readonly onUnusable: (error: Error) => void;
  /** Milliseconds on a clock that never jumps. */
  readonly now?: () => number;
}

export class TrustedKeys {
  readonly #options: TrustedKeysOptions;
  readonly #now: () => number;
  #trust: Trust;
  /** Size, time of change and inode of the files when they were read last. */
  #state: string;
  #lookedAt: number;
  #looking: Promise<void> | undefined;

  /** @throws Error that names the setting when a file cannot be used */
  constructor(options: TrustedKeysOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#state = paths(options.files)
      .map((path) => stateOf(statSync(path, { bigint: true })))
      .join();
    this.#trust = readTrust(options.files);
    this.#lookedAt = this.#now();
  }

  /** The keys that are trusted now. A change of the last second may be missing. */
  async current(): Promise<Trust> {
    if (this.#now() - this.#lookedAt >= INTERVAL_MS) {
      this.#looking ??= this.#look().finally(() => {
        this.#lookedAt = this.#now();
        this.#looking = undefined;
      });
    }
    await this.#looking;
    return this.#trust;
  }

  async #look(): Promise<void> {
    const { files, onUnusable } = this.#options;
    const states = paths(files).map(async (path) => {
      try {
        return stateOf(await stat(path, { bigint: true }));
      } catch (error) {
        return String(error);
      }
    });
    const state = (await Promise.all(states)).join();
    if (state === this.#state) return;
    this.#state = state;
    try {
      this.#trust = readTrust(files);
    } catch (error) {
      onUnusable(error instanceof Error ? error : new Error('unknown error'));
    }
  }
}

function paths({ keys, roots }: TrustedFiles): string[] {
  return [keys, roots].filter((path) => path !== '');
}

function stateOf({ size, mtimeNs, ino }: { size: bigint; mtimeNs: bigint; ino: bigint }): string {
  return [size, mtimeNs, ino].join(' ');
}

function readTrust(files: TrustedFiles): Trust {
  const keys = readBlocks('registry.signature.keys', files.keys, 'PUBLIC KEY', parsePublicKey);
  const roots = readBlocks('registry.signature.roots', files.roots, 'CERTIFICATE', (pem) => new X509Certificate(pem));
  const names = [...keys.map(({ fingerprint }) => fingerprint), ...roots.map(({ fingerprint256 }) => fingerprint256)];
  return { id: createHash('sha256').update(names.join()).digest('hex').slice(0, 16), keys, roots };
}

function readBlocks<Block>(setting: string, path: string, label: string, parse: (pem: string) => Block): Block[] {
  if (path === '') return [];
  try {
    const found = statSync(path);
    // A pipe would never end.
    if (!found.isFile() || found.size > MAX_BYTES) throw new Error('is no file of PEM');
    const block = new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----`, 'g');
    const blocks = readFileSync(path, 'utf8').match(block) ?? [];
    if (blocks.length === 0) throw new Error(`has no PEM block ${label}`);
    if (blocks.length > MAX_BLOCKS) throw new Error(`has more than ${String(MAX_BLOCKS)} PEM blocks`);
    return blocks.map(parse);
  } catch (cause) {
    throw new Error(`${setting}: ${path}: ${cause instanceof Error ? cause.message : 'cannot be read'}`, { cause });
  }
}
