/** The images of an archive: of an OCI image layout, as Docker 25 and later write, or of an older `docker save`. */
import {
  asObject,
  CONFIG_MEDIA_TYPES,
  type Descriptor,
  type Digest,
  digestHex,
  digestOf,
  isDigest,
  isObject,
  OCI_MANIFEST,
} from '../../domain/descriptor.ts';
import { InvalidContentError } from '../../domain/errors.ts';
import { parseIndexEntry } from '../../domain/index-entry.ts';
import { MAX_MANIFEST_BYTES } from '../../domain/manifest.ts';
import { isCompressed, MAX_JSON_BYTES } from './layout.ts';
import type { FilePlace, TarArchive } from './tar-archive.ts';

export interface ArchivedImage {
  readonly digest: Digest;
  readonly names: readonly string[];
}

export interface ArchiveContents {
  /** The images in the order of the archive. */
  readonly images: readonly ArchivedImage[];
  /** Returns an unverified manifest, config or layer. */
  find(digest: Digest): FilePlace | Uint8Array | undefined;
}

/** Rejects with InvalidContentError, or with the error of the file system. */
export async function contentsOf(archive: TarArchive): Promise<ArchiveContents> {
  const contents = await readContents(archive);
  if (contents.images.length === 0) throw new InvalidContentError('archive names no image');
  return contents;
}

async function readContents(archive: TarArchive): Promise<ArchiveContents> {
  if (archive.find('index.json') !== undefined) return layoutContents(archive);
  if (archive.find('manifest.json') !== undefined) return savedContents(archive);
  throw new InvalidContentError(
    'archive has neither the index.json of an OCI image layout nor the manifest.json of "docker save"',
  );
}

/** The annotations in which containerd and other tools store names of an image, the complete name first. */
const NAME_ANNOTATIONS = ['io.containerd.image.name', 'org.opencontainers.image.ref.name'];

async function layoutContents(archive: TarArchive): Promise<ArchiveContents> {
  const { manifests } = asObject(await readJson(archive, 'index.json'), 'index.json');
  const names = new Map<Digest, string[]>();
  for (const json of listOf(manifests, 'index.json')) {
    const entry = parseIndexEntry(json);
    if (entry === undefined || entry.role === 'attestation') continue;
    const annotations = asOptional(asObject(json, 'entry')['annotations']);
    const name = NAME_ANNOTATIONS.map((key) => annotations[key]).find((text) => typeof text === 'string');
    names.set(entry.digest, [...(names.get(entry.digest) ?? []), ...(name === undefined ? [] : [name])]);
  }
  return {
    images: Array.from(names, ([digest, all]) => ({ digest, names: all })),
    find: (digest) => archive.find(`blobs/sha256/${digestHex(digest)}`),
  };
}

/** An image of manifest.json, which has no digest of the image. */
interface SavedImage {
  readonly names: readonly string[];
  readonly config: Descriptor;
  /** The digests of the uncompressed layers, from the config (image-spec, config.md, "rootfs"). */
  readonly layers: readonly Digest[];
}

/** The archive has no manifests, so each image gets a new one, whose digest differs from that in a registry. */
async function savedContents(archive: TarArchive): Promise<ArchiveContents> {
  const contents = new Map<Digest, FilePlace | Uint8Array>();
  const saved: SavedImage[] = [];
  for (const entry of listOf(await readJson(archive, 'manifest.json'), 'manifest.json')) {
    saved.push(await readSaved(archive, asObject(entry, 'entry of manifest.json'), contents));
  }
  const images: ArchivedImage[] = [];
  for (const { names, config, layers } of saved) {
    const descriptors: Descriptor[] = [];
    for (const digest of layers) descriptors.push(await layerOf(archive, digest, contents));
    const document = { schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers: descriptors };
    const manifest = Buffer.from(JSON.stringify(document));
    const digest = digestOf(manifest);
    contents.set(digest, manifest);
    images.push({ digest, names });
  }
  return { images, find: (digest) => contents.get(digest) };
}

/** Adds the places of its config and its layers to `contents`. */
async function readSaved(
  archive: TarArchive,
  { Config: name, Layers: paths, RepoTags: tags }: Record<string, unknown>,
  contents: Map<Digest, FilePlace | Uint8Array>,
): Promise<SavedImage> {
  if (typeof name !== 'string') throw new InvalidContentError('manifest.json has an image without a config');
  const place = placeOf(archive, name, MAX_MANIFEST_BYTES);
  const bytes = await archive.read(place);
  const digest = digestOf(bytes);
  const promised = /[0-9a-f]{64}/.exec(name)?.[0];
  if (promised !== undefined && promised !== digestHex(digest))
    throw new InvalidContentError(`config does not match the digest in its name: ${digest}`);
  contents.set(digest, place);
  const { rootfs } = asObject(parseJson(bytes, 'config'), 'config');
  const layers = listOf(asObject(rootfs, 'rootfs')['diff_ids'], 'diff_ids').map((text) => {
    if (typeof text === 'string' && isDigest(text)) return text;
    throw new InvalidContentError('config has a layer without a sha256 digest');
  });
  const files = listOf(paths, 'manifest.json');
  if (files.length !== layers.length) throw new InvalidContentError('manifest.json and a config disagree on layers');
  for (const [index, layer] of layers.entries()) {
    // Docker stores a layer of several images once and links to it; the digest finds the file in each case.
    const file = archive.find(String(files[index]));
    if (file !== undefined && !contents.has(layer)) contents.set(layer, file);
  }
  const names = listOf(tags, 'manifest.json').filter((tag) => typeof tag === 'string');
  return { names, config: { mediaType: CONFIG, digest, size: place.size }, layers };
}

const [CONFIG = ''] = CONFIG_MEDIA_TYPES;
const LAYER = 'application/vnd.oci.image.layer.v1.tar';

async function layerOf(
  archive: TarArchive,
  digest: Digest,
  contents: ReadonlyMap<Digest, FilePlace | Uint8Array>,
): Promise<Descriptor> {
  const place = contents.get(digest);
  if (place === undefined || place instanceof Uint8Array)
    throw new InvalidContentError(`layer ${digest} is no file of the archive`);
  const { offset, size } = place;
  if (isCompressed(await archive.read({ offset, size: Math.min(size, 4) })))
    throw new InvalidContentError(`layer ${digest} is compressed in the archive, which does not say by which digest`);
  return { mediaType: LAYER, digest, size };
}

async function readJson(archive: TarArchive, name: string): Promise<unknown> {
  return parseJson(await archive.read(placeOf(archive, name, MAX_JSON_BYTES)), name);
}

function placeOf(archive: TarArchive, name: string, most: number): FilePlace {
  const place = archive.find(name);
  if (place === undefined) throw new InvalidContentError('archive lacks the config of an image');
  if (place.size > most) throw new InvalidContentError(`archive has a JSON file of more than ${String(most)} bytes`);
  return place;
}

function parseJson(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new InvalidContentError(`${what} is not JSON`, { cause });
  }
}

/** Programs in Go encode an empty list as `null`. */
function listOf(json: unknown, what: string): unknown[] {
  const list = json ?? [];
  if (Array.isArray(list)) return list;
  throw new InvalidContentError(`${what} has no list where one should be`);
}

function asOptional(json: unknown): Record<string, unknown> {
  return isObject(json) ? asObject(json, 'object') : {};
}
