/** Writes images as an OCI image layout. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digestHex } from '../../src/domain/descriptor.ts';
import { encode, type TestBlob, type TestImage } from './image.ts';

export class OciLayout {
  readonly #directory: string;
  readonly #images: TestImage[] = [];

  constructor(directory: string) {
    this.#directory = directory;
  }

  async create(): Promise<void> {
    await mkdir(join(this.#directory, 'blobs/sha256'), { recursive: true });
    await writeFile(join(this.#directory, 'oci-layout'), encode({ imageLayoutVersion: '1.0.0' }));
    await this.#writeIndex();
  }

  async add(image: TestImage): Promise<void> {
    this.#images.push(image);
    for (const blob of [image.manifest, ...image.blobs]) await writeFile(this.path(blob), blob.bytes);
    await this.#writeIndex();
  }

  path({ descriptor }: TestBlob): string {
    return join(this.#directory, 'blobs/sha256', digestHex(descriptor.digest));
  }

  async #writeIndex(): Promise<void> {
    const manifests = this.#images.map(({ manifest }) => manifest.descriptor);
    await writeFile(join(this.#directory, 'index.json'), encode({ schemaVersion: 2, manifests }));
  }
}
