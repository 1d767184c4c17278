/** The file index.json of a layout: which images are in it (image-spec, image-index.md). Other tools' entries stay in it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { asObject, type Descriptor } from '../../domain/descriptor.ts';
import type { Digest } from '../../domain/digest.ts';
import { onDisk, replaceFile } from './layout-files.ts';

export class LayoutIndex {
  readonly #path: string;
  /** To be added by the next write. */
  readonly #fresh = new Map<Digest, Descriptor>();
  #writing: Promise<void> = Promise.resolve();

  constructor(directory: string) {
    this.#path = join(directory, 'index.json');
  }

  /** Resolves once it is on the disk, with all that are added meanwhile. Rejects with StoreFailedError. */
  add(image: Descriptor): Promise<void> {
    this.#fresh.set(image.digest, image);
    this.#writing = this.#writing.catch(() => undefined).then(() => this.#write());
    return this.#writing;
  }

  async #write(): Promise<void> {
    const fresh = [...this.#fresh.values()];
    if (fresh.length === 0) return;
    const index = await onDisk(this.#read());
    const listed = new Set(index.manifests.map((entry) => asObject(entry, 'manifest')['digest']));
    const added = fresh.filter(({ digest }) => !listed.has(digest));
    if (added.length > 0) {
      await replaceFile(this.#path, JSON.stringify({ ...index, manifests: [...index.manifests, ...added] }));
    }
    for (const { digest } of fresh) this.#fresh.delete(digest);
  }

  async #read(): Promise<{ manifests: unknown[] }> {
    const index = asObject(JSON.parse(await readFile(this.#path, 'utf8')), 'index.json');
    return { ...index, manifests: index['manifests'] as unknown[] };
  }
}
