/** ImageLayout as a directory that other tools, and the gateway beside this file, can read (image-spec, image-layout.md). */
import { mkdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Descriptor, type Digest, digestHex, digestOf, OCI_INDEX } from '../../domain/descriptor.ts';
import { StoreFailedError } from '../../domain/errors.ts';
import { MAX_MANIFEST_BYTES } from '../../domain/manifest.ts';
import type { BlobWriter, ImageLayout } from '../../domain/ports/image-layout.ts';
import type { BlobDirectory } from '../blobs/blob-directory.ts';
import { closeNow, onDisk, openBlob, readWhole, replaceFile } from '../blobs/blob-file.ts';
import { find, ResumableBlob } from '../blobs/resumable-blob.ts';
import { blobsOf, LayoutIndex } from './layout.ts';
import { OciLayoutGateway } from './oci-layout-gateway.ts';

/**
 * ```text
 * <directory>/oci-layout, index.json    an image is listed when all of it is here
 *             blobs/sha256/4f5e…        verified blobs
 *             ingest/4f5e…              partial blobs, which the next run completes; removed with the last one
 * ```
 */
export class OciLayoutWriter implements ImageLayout {
  readonly #directory: string;
  readonly #ingest: string;
  readonly #blobs: BlobDirectory;
  readonly #index: LayoutIndex;

  private constructor(directory: string) {
    this.#directory = directory;
    this.#ingest = join(directory, 'ingest');
    this.#blobs = blobsOf(directory);
    this.#index = new LayoutIndex(directory);
  }

  /**
   * Creates the layout in the directory if there is none; no other process can write to it until it is closed. Rejects with
   * StoreFailedError, or as `OciLayoutGateway.check`.
   */
  static async open(directory: string): Promise<OciLayoutWriter> {
    await onDisk(mkdir(directory, { recursive: true }));
    const writer = new OciLayoutWriter(directory);
    await writer.#prepare();
    return writer;
  }

  /** With `isComplete`, partial files are no longer needed and are removed. */
  async close(isComplete: boolean): Promise<void> {
    if (isComplete) await onDisk(rm(this.#ingest, { recursive: true, force: true }));
    else await rmdir(this.#ingest).catch(() => undefined);
  }

  async readManifest(digest: Digest): Promise<Uint8Array | undefined> {
    const path = this.#blobs.pathOf(digest);
    const stats = await find(path);
    if (stats === undefined || !stats.isFile() || stats.size > MAX_MANIFEST_BYTES) return undefined;
    const { fd, size } = await onDisk(openBlob(path));
    try {
      const bytes = await onDisk(readWhole(fd, size));
      return digestOf(bytes) === digest ? bytes : undefined;
    } finally {
      closeNow(fd);
    }
  }

  writer(blob: Descriptor): BlobWriter {
    return new ResumableBlob(this.#blobs, join(this.#ingest, digestHex(blob.digest)), blob);
  }

  list(image: Descriptor): Promise<void> {
    return this.#index.add(image);
  }

  /** Creates the files in an order in which the next attempt can continue after a kill. */
  async #prepare(): Promise<void> {
    const [layout, index, blobs] = [this.#path('oci-layout'), this.#path('index.json'), this.#path('blobs')];
    if ((await find(layout)) === undefined) {
      for (const path of [index, blobs]) {
        if ((await find(path)) !== undefined)
          throw refusal(`not an OCI image layout: ${path} exists but the file "oci-layout" is missing`);
      }
      await onDisk(replaceFile(layout, JSON.stringify({ imageLayoutVersion: '1.0.0' })));
    }
    if ((await find(index)) === undefined) {
      const empty = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] };
      await onDisk(replaceFile(index, JSON.stringify(empty)));
    }
    await new OciLayoutGateway(this.#directory).check();
    await onDisk(mkdir(this.#blobs.path, { recursive: true }));
    await onDisk(mkdir(this.#ingest, { recursive: true }));
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

function refusal(why: string): StoreFailedError {
  return new StoreFailedError({ cause: new Error(why) });
}
