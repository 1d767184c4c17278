/** Image manifests and indexes, and which blob of them the package is (image-spec, manifest.md and image-index.md). */
import { parseBoundedJson } from './bounded-json.ts';
import { asObject, type Descriptor, parseDescriptor } from './descriptor.ts';
import { InvalidContentError } from './errors.ts';

/** Docker's two types are synonyms of OCI's two; a registry is asked for all four. */
const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
export const MANIFEST_MEDIA_TYPES: readonly string[] = [
  OCI_MANIFEST,
  'application/vnd.docker.distribution.manifest.v2+json',
];
export const INDEX_MEDIA_TYPES: readonly string[] = [
  OCI_INDEX,
  'application/vnd.docker.distribution.manifest.list.v2+json',
];

/** The least that a registry must accept (distribution-spec, pushing manifests), so the most that we take. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
/** Far above any real image; a bound for hostile input. */
const MAX_ENTRIES = 1000;

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

export interface Manifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  /** Undefined also where somebody has made the image by hand, and it is none: no package depends on it. */
  readonly config: Descriptor | undefined;
  readonly layers: readonly Descriptor[];
}

export interface Index {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly manifests: readonly { readonly descriptor: Descriptor; readonly platform: Platform | undefined }[];
}

/** @throws InvalidContentError when the bytes are neither a manifest nor an index. */
export function parseManifest(bytes: Uint8Array): Manifest | Index {
  const json = asObject(parseJson(bytes), 'manifest');
  const mediaType = json['mediaType'];
  if (mediaType !== undefined && typeof mediaType !== 'string') throw new InvalidContentError('mediaType is not text');
  const isIndex = mediaType === undefined ? 'manifests' in json : INDEX_MEDIA_TYPES.includes(mediaType);
  const isManifest = mediaType === undefined ? 'layers' in json : MANIFEST_MEDIA_TYPES.includes(mediaType);
  // A document that is both is an attack on those who choose by one field only (CVE-2021-41190).
  if (('manifests' in json && 'layers' in json) || isIndex === isManifest) {
    throw new InvalidContentError('neither an image manifest nor an index');
  }
  if (isIndex) {
    const manifests = asArray(json['manifests'], 'manifests').map(parseIndexEntry);
    return { kind: 'index', mediaType: mediaType ?? OCI_INDEX, manifests };
  }
  return {
    kind: 'manifest',
    mediaType: mediaType ?? OCI_MANIFEST,
    config: parseConfig(json['config']),
    layers: asArray(json['layers'], 'layers').map(parseDescriptor),
  };
}

function parseConfig(json: unknown): Descriptor | undefined {
  try {
    return parseDescriptor(json);
  } catch (error) {
    if (!(error instanceof InvalidContentError)) throw error;
    return undefined;
  }
}

/** The package is the last layer, still compressed. */
export function packageLayer({ layers }: Pick<Manifest, 'layers'>): Descriptor {
  const layer = layers.at(-1);
  if (layer === undefined) throw new InvalidContentError('image has no layers');
  return layer;
}

/** The first manifest for the platform; the variant counts only when one is asked for. */
export function selectPlatform(index: Index, wanted: Platform): Descriptor {
  const found = index.manifests.find(
    ({ platform }) =>
      platform?.os === wanted.os &&
      platform.architecture === wanted.architecture &&
      (wanted.variant === undefined || platform.variant === wanted.variant),
  );
  if (found === undefined) throw new InvalidContentError(`image has no ${formatPlatform(wanted)} manifest`);
  return found.descriptor;
}

/** `os/architecture[/variant]`, as container tools write it. */
export function parsePlatform(text: string): Platform | undefined {
  const match = /^([a-z0-9]+)\/([a-z0-9]+)(?:\/([a-z0-9]+))?$/.exec(text);
  if (match === null) return undefined;
  const [, os = '', architecture = '', variant] = match;
  return variant === undefined ? { os, architecture } : { os, architecture, variant };
}

function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

function parseIndexEntry(json: unknown): Index['manifests'][number] {
  const { platform } = asObject(json, 'index entry');
  const descriptor = parseDescriptor(json);
  if (platform === undefined || platform === null) return { descriptor, platform: undefined };
  const { os, architecture, variant } = asObject(platform, 'platform');
  if (typeof os !== 'string' || typeof architecture !== 'string') return { descriptor, platform: undefined };
  return {
    descriptor,
    platform: typeof variant === 'string' ? { os, architecture, variant } : { os, architecture },
  };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return parseBoundedJson(bytes);
  } catch (cause) {
    throw new InvalidContentError('manifest is not JSON, or too much of it', { cause });
  }
}

function asArray(json: unknown, what: string): unknown[] {
  if (!Array.isArray(json)) throw new InvalidContentError(`${what} is not a list`);
  if (json.length > MAX_ENTRIES) throw new InvalidContentError(`${what} has more than ${String(MAX_ENTRIES)} entries`);
  return json;
}
