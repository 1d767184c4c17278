/** The file index.json of a layout: which images are in it (image-spec, image-index.md). Other tools' entries stay in it. */
import { join } from 'node:path';
import { asObject, type Descriptor, type Digest, isObject } from '../../domain/descriptor.ts';
import { onDisk } from '../blobs/disk-error.ts';
import { replaceFile } from '../blobs/durable-file.ts';
import { readObject } from './layout-files.ts';

const NAME = 'index.json';

export class LayoutIndex {
  readonly #directory: string;
  /** To be added by the next write. */
  readonly #fresh = new Map<Digest, Descriptor>();
  #writing: Promise<void> = Promise.resolve();

  constructor(directory: string) {
    this.#directory = directory;
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
    const listed = new Set(
      index.manifests.map((entry) => (isObject(entry) ? asObject(entry, 'entry')['digest'] : entry)),
    );
    const added = fresh.filter(({ digest }) => !listed.has(digest));
    if (added.length > 0) {
      const text = JSON.stringify({ ...index, manifests: [...index.manifests, ...added] });
      await onDisk(replaceFile(join(this.#directory, NAME), text));
    }
    for (const { digest } of fresh) this.#fresh.delete(digest);
  }

  async #read(): Promise<{ manifests: unknown[] }> {
    const index = await readObject(this.#directory, NAME);
    return { ...index, manifests: (index['manifests'] ?? []) as unknown[] };
  }
}
