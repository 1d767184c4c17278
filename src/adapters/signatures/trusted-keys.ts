/** The public keys and root certificates that verify images, in files that change while the service runs. */
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { parsePublicKey, type PublicKey } from './public-key.ts';

/** The interval of the reads, because each use would cost two accesses to the disk. */
const INTERVAL_MS = 1000;
const MAX_BYTES = 1024 * 1024;
/** The limit for keys: each signature is tried with each key, which takes 60 us. */
const MAX_BLOCKS = 32;

export interface TrustedFiles {
  /** The path of the public keys in PEM; empty for none. */
  readonly keys: string;
  /** The path of the root certificates in PEM; empty for none. */
  readonly roots: string;
}

interface Trust {
  /** Changes only with the keys and the roots. */
  readonly id: string;
  readonly keys: readonly PublicKey[];
  readonly roots: readonly X509Certificate[];
}

interface TrustedKeysOptions {
  readonly files: TrustedFiles;
  /** Called for each change after which the files cannot be used; the previous keys stay trusted. */
  readonly onUnusable: (error: Error) => void;
  /** The milliseconds of a monotonic clock. */
  readonly now?: () => number;
}

export class TrustedKeys {
  readonly #options: TrustedKeysOptions;
  readonly #now: () => number;
  #trust: Trust;
  /** Size, modification time and inode of the files at the last read. */
  #state: string;
  #lookedAt: number;
  #looking: Promise<void> | undefined;

  /** @throws Error that names the setting if a file cannot be used */
  constructor(options: TrustedKeysOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#state = paths(options.files)
      .map((path) => stateOf(statSync(path, { bigint: true })))
      .join();
    this.#trust = readTrust(options.files);
    this.#lookedAt = this.#now();
  }

  /** Resolves with the trusted keys. A change of the last second may be missing. */
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
    // A pipe has no end, so it is refused.
    if (!found.isFile() || found.size > MAX_BYTES) throw new Error('is not a PEM file');
    const block = new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----`, 'g');
    const blocks = readFileSync(path, 'utf8').match(block) ?? [];
    if (blocks.length === 0) throw new Error(`has no PEM block ${label}`);
    if (blocks.length > MAX_BLOCKS) throw new Error(`has more than ${String(MAX_BLOCKS)} PEM blocks`);
    return blocks.map(parse);
  } catch (cause) {
    throw new Error(`${setting}: ${path}: ${cause instanceof Error ? cause.message : 'cannot be read'}`, { cause });
  }
}
