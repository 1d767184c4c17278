/** Archives of images, with the entries and the names that Docker and Podman give them. */
import { type Digest, digestHex, digestOf } from '../../src/domain/descriptor.ts';
import { type ArchiveEntry, archiveOf } from './archive.ts';
import { encode, type TestBlob, type TestImage, type TestIndex } from './image.ts';

interface SavedImage {
  readonly tags: readonly string[];
  /** Not compressed. */
  readonly layers: readonly Uint8Array[];
}

/** A manifest or an index, and the blobs that belong to it. */
interface Listed {
  readonly names: readonly string[];
  readonly listed: TestBlob;
  readonly blobs: readonly TestBlob[];
}

export function listedImage({ manifest, blobs }: TestImage, ...names: readonly string[]): Listed {
  return { names, listed: manifest, blobs };
}

export function listedIndex({ index, images }: TestIndex, ...names: readonly string[]): Listed {
  return { names, listed: index, blobs: images.flatMap(({ manifest, blobs }) => [manifest, ...blobs]) };
}

/** The format of Docker since version 25: an OCI image layout with a manifest.json for older readers. */
export function layoutArchive(...images: readonly Listed[]): Buffer {
  const all = new Map(images.flatMap(({ listed, blobs }) => [listed, ...blobs]).map((blob) => [blobPath(blob), blob]));
  const manifests = images.flatMap(({ names, listed }) =>
    (names.length === 0 ? [undefined] : names).map((name) => ({
      ...listed.descriptor,
      ...(name !== undefined && {
        annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name.split(':').at(-1) },
      }),
    })),
  );
  return archiveOf(
    { path: 'blobs/', kind: 'directory' },
    { path: 'blobs/sha256/', kind: 'directory' },
    ...Array.from(all, ([path, { bytes }]) => ({ path, content: bytes })),
    { path: 'index.json', content: encode({ schemaVersion: 2, manifests }) },
    { path: 'manifest.json', content: encode([]) },
    { path: 'oci-layout', content: encode({ imageLayoutVersion: '1.0.0' }) },
  );
}

function blobPath({ descriptor }: TestBlob): string {
  return `blobs/sha256/${digestHex(descriptor.digest)}`;
}

/** The config with the digests of the uncompressed layers. */
export function configOf({ layers }: SavedImage): Uint8Array {
  return encode({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: layers.map(digestOf) } });
}

/** The format of Docker before version 25: a folder for each layer, with a link for a repeated layer. */
export function dockerArchive(...images: readonly SavedImage[]): Buffer {
  const here = new Map<Digest, string>();
  const entries: ArchiveEntry[] = [];
  const saved = images.map((image, number) => {
    const paths = image.layers.map((content, layer) => {
      const folder = `${String(number)}${String(layer)}`.padStart(64, 'a');
      const path = `${folder}/layer.tar`;
      const target = here.get(digestOf(content));
      entries.push({ path: `${folder}/`, kind: 'directory' }, { path: `${folder}/VERSION`, content: '1.0' });
      entries.push(target === undefined ? { path, content } : { path, kind: 'symlink', target: `../${target}` });
      here.set(digestOf(content), path);
      return path;
    });
    return { config: configOf(image), tags: image.tags, paths };
  });
  return withManifest(entries, saved);
}

/** The default format of Podman: a file for each layer, and links for readers of folders. */
export function podmanArchive(...images: readonly SavedImage[]): Buffer {
  const entries: ArchiveEntry[] = [];
  const saved = images.map((image, number) => {
    const paths = image.layers.map((content, layer) => {
      const path = `${digestHex(digestOf(content))}.tar`;
      const folder = `${String(number)}${String(layer)}`.padStart(64, 'b');
      entries.push({ path, content }, { path: `${folder}/layer.tar`, kind: 'symlink', target: `../${path}` });
      return path;
    });
    return { config: configOf(image), tags: image.tags, paths };
  });
  return withManifest(entries, saved);
}

interface Named {
  readonly config: Uint8Array;
  readonly tags: readonly string[];
  readonly paths: readonly string[];
}

function withManifest(entries: readonly ArchiveEntry[], saved: readonly Named[]): Buffer {
  const nameOf = ({ config }: Named): string => `${digestHex(digestOf(config))}.json`;
  const manifest = saved.map((one) => ({ Config: nameOf(one), RepoTags: one.tags, Layers: one.paths }));
  return archiveOf(
    ...entries,
    ...saved.map((one) => ({ path: nameOf(one), content: one.config })),
    { path: 'manifest.json', content: encode(manifest) },
    { path: 'repositories', content: encode({}) },
  );
}
