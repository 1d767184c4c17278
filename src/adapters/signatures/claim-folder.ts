/** Stores the claim that verified an image, so that after a restart it is verified again without a request to a registry. */
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseBoundedJson } from '../../domain/bounded-json.ts';
import { asObject, type Digest, digestHex } from '../../domain/descriptor.ts';
import { type CosignClaim, MAX_CLAIM_BYTES } from './cosign-claim.ts';

/** A claim takes one block of 4 KiB: 8 MiB beside a store that has fewer images. */
const MAX_FILES = 2000;
const REMOVED_AT_ONCE = MAX_FILES / 10;
/** The size of a claim in base64, with its JSON. */
const MAX_FILE_BYTES = 2 * MAX_CLAIM_BYTES;

export class ClaimFolder {
  readonly #directory: string;
  /** The number of files; undefined before the first write. */
  #files: number | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Resolves with undefined if there is no readable claim. */
  async read(image: Digest): Promise<CosignClaim | undefined> {
    try {
      const path = this.#path(image);
      if ((await stat(path)).size > MAX_FILE_BYTES) return undefined;
      return parseClaim(parseBoundedJson(await readFile(path)));
    } catch {
      return undefined;
    }
  }

  /** A claim that cannot be written is fetched again after a restart. */
  async write(image: Digest, claim: CosignClaim): Promise<void> {
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      const path = this.#path(image);
      await writeFile(`${path}.new`, JSON.stringify(documentOf(claim)), { mode: 0o600 });
      await rename(`${path}.new`, path);
      this.#files = (this.#files ?? (await readdir(this.#directory)).length) + 1;
      if (this.#files > MAX_FILES) await this.#makeRoom();
    } catch {
      // The failure has no other consequence.
    }
  }

  #path(image: Digest): string {
    return join(this.#directory, digestHex(image));
  }

  /** Removes the oldest files, because the registry still has their claims. */
  async #makeRoom(): Promise<void> {
    const names = await readdir(this.#directory);
    const files = await Promise.all(
      names.map(async (name) => {
        const path = join(this.#directory, name);
        return { path, writtenAt: (await stat(path)).mtimeMs };
      }),
    );
    const oldest = files.toSorted((one, other) => one.writtenAt - other.writtenAt);
    const surplus = oldest.slice(0, Math.max(0, files.length - MAX_FILES) + REMOVED_AT_ONCE);
    for (const { path } of surplus) await rm(path, { force: true });
    this.#files = files.length - surplus.length;
  }
}

function documentOf(claim: CosignClaim): object {
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  return claim.kind === 'bundle'
    ? { bundle: base64(claim.bundle) }
    : { payload: base64(claim.payload), signature: claim.signature };
}

function parseClaim(json: unknown): CosignClaim | undefined {
  const { bundle, payload, signature } = asObject(json, 'claim');
  if (typeof bundle === 'string') return { kind: 'bundle', bundle: Buffer.from(bundle, 'base64') };
  if (typeof payload !== 'string' || typeof signature !== 'string') return undefined;
  return { kind: 'simple-signing', payload: Buffer.from(payload, 'base64'), signature };
}
