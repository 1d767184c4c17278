/** Images of random bytes. Each peer gets hard links to the same files, so all share one page cache. */
import { randomFillSync } from 'node:crypto';
import { link, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { digestHex } from '../src/domain/descriptor.ts';
import { makeImage, type TestBlob, type TestImage } from '../test/support/image.ts';

export interface BlobFile {
  /** The hexadecimal part of the digest. */
  readonly hex: string;
  readonly size: number;
  readonly mediaType: string;
  readonly path: string;
}

export interface BenchImage {
  /** The hexadecimal part of the digest that clients request. */
  readonly hex: string;
  readonly manifest: BlobFile;
  readonly config: BlobFile;
  /** The last layer, which is the package. */
  readonly layer: BlobFile;
}

/** Creates an image whose package has `size` new random bytes. */
export function createImage(folder: string, size: number): Promise<BenchImage> {
  return writeImage(folder, makeImage([randomFillSync(new Uint8Array(size))]));
}

/** Writes the files of an image with one layer. */
export async function writeImage(folder: string, { manifest, blobs }: TestImage): Promise<BenchImage> {
  const [config, layer] = blobs;
  if (config === undefined || layer === undefined) throw new Error('an image without a layer');
  const files = await Promise.all([manifest, config, layer].map((blob) => writeBlob(folder, blob)));
  const [manifestFile, configFile, layerFile] = files as [BlobFile, BlobFile, BlobFile];
  return { hex: manifestFile.hex, manifest: manifestFile, config: configFile, layer: layerFile };
}

/** JSON of this size, with about as many strings as a manifest may have. */
export function largeJson(bytes: number, more: object): string {
  const value = 'x'.repeat(235);
  const count = Math.floor((bytes - 1024) / 250);
  const annotations = Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${String(index)}`, value]));
  return JSON.stringify({ ...more, annotations });
}

export async function createImages(folder: string, size: number, count: number): Promise<BenchImage[]> {
  const images: BenchImage[] = [];
  while (images.length < count) images.push(await createImage(folder, size));
  return images;
}

/** Creates a hard link to the file, and the missing directories of its path. */
export async function place(blob: BlobFile, path: string): Promise<void> {
  try {
    await link(blob.path, path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT') throw error;
    await mkdir(dirname(path), { recursive: true });
    await link(blob.path, path);
  }
}

async function writeBlob(folder: string, { descriptor, bytes }: TestBlob): Promise<BlobFile> {
  const hex = digestHex(descriptor.digest);
  const path = join(folder, hex);
  await writeFile(path, bytes);
  return { hex, size: bytes.byteLength, mediaType: descriptor.mediaType, path };
}
