/** Makes images of known bytes in the form of registries. */
import { type Descriptor, type Digest, digestOf } from '../../src/domain/descriptor.ts';
import type { Platform } from '../../src/domain/index-entry.ts';

export interface TestBlob {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

export interface TestImage {
  /** The digest that a client requests. */
  readonly digest: Digest;
  readonly manifest: TestBlob;
  /** Config and layers: all that must be uploaded before the manifest. */
  readonly blobs: readonly TestBlob[];
  /** The package: the last layer. */
  readonly layer: TestBlob;
}

export interface TestIndex {
  readonly digest: Digest;
  readonly index: TestBlob;
  readonly images: readonly TestImage[];
}

const TYPES = {
  oci: {
    index: 'application/vnd.oci.image.index.v1+json',
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
    layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
  },
  docker: {
    index: 'application/vnd.docker.distribution.manifest.list.v2+json',
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
    layer: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  },
} as const;

/** Bytes of a linear congruential generator: the same for the same seed, without short repetitions. */
export function bytesOf(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

export function makeBlob(mediaType: string, bytes: Uint8Array): TestBlob {
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.byteLength }, bytes };
}

/** An image of these layers, the last of which is the package. */
export function makeImage(layers: readonly Uint8Array[], dialect: 'oci' | 'docker' = 'oci'): TestImage {
  const types = TYPES[dialect];
  const config = makeBlob(types.config, encode({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers' } }));
  const layerBlobs = layers.map((bytes) => makeBlob(types.layer, bytes));
  const manifest = makeBlob(
    types.manifest,
    encode({
      schemaVersion: 2,
      mediaType: types.manifest,
      config: config.descriptor,
      layers: layerBlobs.map(({ descriptor }) => descriptor),
    }),
  );
  const layer = layerBlobs.at(-1) ?? config;
  return { digest: manifest.descriptor.digest, manifest, blobs: [config, ...layerBlobs], layer };
}

/** A one-layer image whose package is `length` bytes. */
export function makePackage(length: number, seed = 1): TestImage {
  return makeImage([bytesOf(length, seed)]);
}

export function makeIndex(
  entries: readonly { image: TestImage; platform: Platform }[],
  dialect: 'oci' | 'docker' = 'oci',
): TestIndex {
  const mediaType = TYPES[dialect].index;
  const manifests = entries.map(({ image, platform }) => ({ ...image.manifest.descriptor, platform }));
  const index = makeBlob(mediaType, encode({ schemaVersion: 2, mediaType, manifests }));
  return { digest: index.descriptor.digest, index, images: entries.map(({ image }) => image) };
}

export function encode(json: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(json));
}
