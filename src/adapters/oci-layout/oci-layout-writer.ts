/** ImageLayout as a directory that other tools, and the gateway beside this file, can read (image-spec, image-layout.md). */
import { type Stats } from 'node:fs';
import { lstat, mkdir, open, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Descriptor } from '../../domain/descriptor.ts';
import { type Digest, digestHex, digestOf } from '../../domain/digest.ts';
import { DigestMismatchError, StoreFailedError } from '../../domain/errors.ts';
import { MAX_MANIFEST_BYTES } from '../../domain/manifest.ts';
import { OCI_INDEX } from '../../domain/media-types.ts';
import type { FetchFrom, ImageLayout } from '../../domain/ports/image-layout.ts';
import { Verifier } from '../../domain/verifier.ts';
import { receive } from './arriving-blob.ts';
import { blobPath, onDisk, READ_FLAGS, replaceFile, show } from './layout-files.ts';
import { LayoutIndex } from './layout-index.ts';
import { OciLayoutGateway } from './oci-layout-gateway.ts';

/**
 * ```text
 * <directory>/oci-layout, index.json    an image is listed when all of it is here
 *             blobs/sha256/4f5e…        proved blobs
 *             ingest/4f5e…              blobs on their way in; what lies there is gone on with, and leaves with the last of them
 * ```
 */
export class OciLayoutWriter implements ImageLayout {
  readonly #directory: string;
  readonly #ingest: string;
  readonly #index: LayoutIndex;

  private constructor(directory: string) {
    this.#directory = directory;
    this.#ingest = join(directory, 'ingest');
    this.#index = new LayoutIndex(directory);
  }

  /**
   * Makes the directory a layout when it is none; no other process can write there until it is closed. Rejects with
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
    const path = blobPath(this.#directory, digest);
    const stats = await find(path);
    if (stats === undefined || !stats.isFile() || stats.size > MAX_MANIFEST_BYTES) return undefined;
    const handle = await onDisk(open(path, READ_FLAGS));
    try {
      const bytes = await onDisk(handle.readFile());
      return digestOf(bytes) === digest ? bytes : undefined;
    } finally {
      await handle.close();
    }
  }

  async keep(blob: Descriptor, fetch: FetchFrom, onBytes: (here: number) => void, signal: AbortSignal): Promise<void> {
    const place = blobPath(this.#directory, blob.digest);
    const stats = await find(place);
    if (stats !== undefined) {
      if (await isBlob(place, stats, blob.digest, onBytes, signal)) {
        // Its digest is right: it is the manifest that is wrong.
        if (stats.size !== blob.size) throw new DigestMismatchError(inBytes(blob.size), inBytes(stats.size));
        return;
      }
      onBytes(0);
      await onDisk(rm(place, { recursive: true, force: true }));
    }
    await receive(blob, { part: join(this.#ingest, digestHex(blob.digest)), place }, fetch, onBytes, signal);
  }

  list(image: Descriptor): Promise<void> {
    return this.#index.add(image);
  }

  /** In an order in which a kill leaves what the next try can go on with. */
  async #prepare(): Promise<void> {
    const [layout, index, blobs] = [this.#path('oci-layout'), this.#path('index.json'), this.#path('blobs')];
    if ((await find(layout)) === undefined) {
      for (const path of [index, blobs]) {
        if ((await find(path)) !== undefined) throw refusal(`${path} is there, but no file "oci-layout": whose is it?`);
      }
      await replaceFile(layout, JSON.stringify({ imageLayoutVersion: '1.0.0' }));
    }
    if ((await find(index)) === undefined) {
      await replaceFile(index, JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] }));
    }
    await new OciLayoutGateway(this.#directory).check();
    await onDisk(mkdir(join(blobs, 'sha256'), { recursive: true }));
    await onDisk(mkdir(this.#ingest, { recursive: true }));
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

/** The entry of this name, which can be a link; undefined when there is none. */
async function find(path: string): Promise<Stats | undefined> {
  return onDisk(
    lstat(path).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    }),
  );
}

async function isBlob(
  path: string,
  stats: Stats,
  digest: Digest,
  onBytes: (here: number) => void,
  signal: AbortSignal,
): Promise<boolean> {
  if (!stats.isFile()) return false;
  const verifier = new Verifier({ digest, size: stats.size });
  const handle = await onDisk(open(path, READ_FLAGS));
  try {
    await show(handle, verifier, onBytes, signal);
    verifier.verify();
    return true;
  } catch (error) {
    if (error instanceof DigestMismatchError) return false;
    throw error;
  } finally {
    await handle.close();
  }
}

function refusal(why: string): StoreFailedError {
  return new StoreFailedError({ cause: new Error(why) });
}

function inBytes(size: number): string {
  return `${String(size)} bytes`;
}
