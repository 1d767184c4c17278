/** An upstream of which parts are in files: another object when these hold something else, as connections are keyed by it. */
import { stat } from 'node:fs/promises';
import type { Upstream } from '../../domain/upstream.ts';

/** Each use would cost a look at the disk. */
const INTERVAL_MS = 1000;

export interface FollowedFiles {
  readonly paths: readonly string[];
  /** Those of them that open the registry. */
  readonly secrets: readonly string[];
  /** The mark of what they held when the settings were read. */
  readonly content: string;
  /** `content` is the same for as long as the files hold the same. @throws an Error whose message names the field */
  readonly read: () => { readonly upstream: Upstream; readonly content: string };
}

interface FollowedOptions {
  readonly files: FollowedFiles | undefined;
  readonly onUnusable: (reason: string) => void;
  readonly now?: () => number;
}

export class FollowedUpstream {
  readonly #options: FollowedOptions;
  readonly #now: () => number;
  #upstream: Upstream;
  #content: string | undefined;
  /** Sizes, times of change and inodes when the files were read last; unknown of the first time. */
  #state: string | undefined;
  #lookedAt: number;
  #looking: Promise<void> | undefined;
  #failure: string | undefined;

  constructor(upstream: Upstream, options: FollowedOptions) {
    this.#upstream = upstream;
    this.#content = options.files?.content;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#lookedAt = this.#now();
  }

  /** As it was when it was asked for last. */
  get last(): Upstream {
    return this.#upstream;
  }

  /** Why the files cannot be used as they are. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** A change of the last second may be missing. Files that cannot be used change nothing. */
  async current(): Promise<Upstream> {
    const { files } = this.#options;
    if (files !== undefined && this.#now() - this.#lookedAt >= INTERVAL_MS) {
      this.#looking ??= this.#look(files).finally(() => {
        this.#lookedAt = this.#now();
        this.#looking = undefined;
      });
    }
    await this.#looking;
    return this.#upstream;
  }

  async #look(files: FollowedFiles): Promise<void> {
    const state = (await Promise.all(files.paths.map(stateOf))).join();
    if (state === this.#state) return;
    this.#state = state;
    try {
      const { upstream, content } = files.read();
      if (content !== this.#content) this.#upstream = upstream;
      this.#content = content;
      this.#failure = undefined;
    } catch (error) {
      this.#failure = error instanceof Error ? error.message : 'unknown error';
      this.#options.onUnusable(this.#failure);
    }
  }
}

async function stateOf(path: string): Promise<string> {
  try {
    const { size, mtimeNs, ino } = await stat(path, { bigint: true });
    return [size, mtimeNs, ino].join(' ');
  } catch (error) {
    return String(error);
  }
}
